import ByteIO
import Checkpoints
import Conversion
import Foundation
import Quantization
import Support
import Tensors
import Testing

/// Runs a program of the system in a directory and gives its exit status.
private func status(of program: String, _ arguments: [String], in directory: String) throws -> Int32 {
  let process = Process()
  process.executableURL = URL(filePath: program)
  process.arguments = arguments
  process.currentDirectoryURL = URL(filePath: directory)
  process.standardOutput = FileHandle.nullDevice
  process.standardError = FileHandle.nullDevice
  try process.run()
  process.waitUntilExit()
  return process.terminationStatus
}

private let sha256sum = "/usr/bin/sha256sum"

@Suite("Published directories")
struct PublicationTests {
  let model: ModelFolder
  let out: String
  init() throws {
    model = try ModelFolder()
    out = model.beside("out")
  }

  private func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

  @Test("A configuration written by transformers stays byte for byte when nothing changes")
  func unchangedConfiguration() throws {
    try convert(model.path, to: out, ConversionOptions())
    #expect(try text(out + "/config.json") == text(model.path + "/config.json"))
  }

  @Test("Quantizing appends to the configuration and keeps order and spelling of the rest")
  func quantizedConfiguration() throws {
    // Spellings that a parser to doubles would change, and keys that are not sorted.
    try model.replaceInConfiguration(
      "\"use_cache\": true,",
      with: "\"use_cache\": true,\n  \"zeta\": 1E2,\n  \"alpha\": 12345678901234567890123,\n  \"name\": \"Größe\",")
    try convert(model.path, to: out, .fp8(.fp8))
    let before = try text(model.path + "/config.json").split(separator: "\n").dropLast()
    let after = try text(out + "/config.json").split(separator: "\n")
    for (old, new) in zip(before, after) {
      // The last old member gains a comma.
      #expect(new == old || new == old + ",")
    }
    let lines = Set(after.map { $0.trimmingCharacters(in: .whitespaces) })
    for spelling in ["1e-05", "1E2", "12345678901234567890123", "\"Größe\""] {
      #expect(lines.contains { $0.hasSuffix(": \(spelling),") }, "\(spelling)")
    }
    #expect(lines.contains("\"rope_theta\": 500000.0,"))
    #expect(after.contains("  \"quantization_config\": {"))
  }

  @Test("--to a type removes quantization_config and names the type under the key that is there")
  func typeInConfiguration() throws {
    try convert(model.path, to: out, .fp8(.fp8))
    try convert(out, to: model.beside("back"), ConversionOptions(target: .element(.f32)))
    let back = try text(model.beside("back") + "/config.json")
    let expected = try text(model.path + "/config.json").replacingOccurrences(of: "\"bfloat16\"", with: "\"float32\"")
    #expect(back == expected)
    // The spelling of transformers 4.
    try model.replaceInConfiguration("\"dtype\"", with: "\"torch_dtype\"")
    try convert(model.path, to: model.beside("half"), ConversionOptions(target: .element(.f16)))
    let half = try foundationJSON(model.beside("half") + "/config.json")
    #expect(half["torch_dtype"] as? String == "float16" && half["dtype"] == nil)
  }

  @Test("Files beside the weights are carried over, all others are left and named")
  func sidecars() throws {
    try Data("licence".utf8).write(to: model.file("LICENSE.txt"))
    try Data("notes".utf8).write(to: model.file("training_args.bin"))
    try FileManager.default.createDirectory(at: model.file("original"), withIntermediateDirectories: false)
    try convert(model.path, to: out, .fp8(.fp8))
    let written = try contents(ofDirectory: out)
    let carried = [
      "LICENSE.txt", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    ]
    for name in carried { #expect(try written[name] == Fixtures.bytes(model.file(name)), "\(name)") }
    let made = ["SHA256SUMS", "config.json", "llama-convert.json", "model.safetensors"]
    #expect(written.keys.sorted() == (carried + made).sorted())
    let input = try #require(try foundationJSON(out + "/llama-convert.json")["input"] as? [String: Any])
    #expect(input["not_carried_over"] as? [String] == ["original", "training_args.bin"])
  }

  /// The layout of a hub cache: a snapshot of links into a folder of blobs.
  @Test("Links of a hub cache are followed: the output has files")
  func hubCache() throws {
    let plain = model.beside("plain")
    try convert(model.path, to: plain, .fp8(.fp8))
    let manager = FileManager.default
    try manager.createDirectory(atPath: model.beside("snapshots"), withIntermediateDirectories: false)
    try manager.moveItem(atPath: model.path, toPath: model.beside("blobs"))
    try manager.createDirectory(atPath: model.path, withIntermediateDirectories: false)
    for name in try manager.contentsOfDirectory(atPath: model.beside("blobs")) {
      try manager.createSymbolicLink(atPath: model.path + "/" + name, withDestinationPath: "../blobs/" + name)
    }
    try convert(model.path, to: out, .fp8(.fp8))
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: plain))
  }

  @Test(
    "sha256sum agrees with SHA256SUMS, which covers every file",
    .enabled(if: FileManager.default.isExecutableFile(atPath: sha256sum)))
  func checksums() throws {
    try convert(model.path, to: out, ConversionOptions(target: .fp8(.fp8), maximumShardSize: 1_000_000))
    #expect(try status(of: sha256sum, ["--check", "--strict", "SHA256SUMS"], in: out) == 0)
    let listed = try text(out + "/SHA256SUMS").split(separator: "\n").map { String($0.dropFirst(66)) }
    let there = try FileManager.default.contentsOfDirectory(atPath: out).filter { $0 != "SHA256SUMS" }
    #expect(listed == there.sorted())
    let handle = try FileHandle(forUpdating: URL(filePath: out + "/tokenizer.model"))
    try handle.write(contentsOf: [0])
    try handle.close()
    #expect(try status(of: sha256sum, ["--check", "--strict", "SHA256SUMS"], in: out) == 1)
  }

  @Test("The record names tool, options, plan, inputs, tensors and errors, and no place")
  func record() throws {
    let check = try convert(model.path, to: out, .fp8(.fp8))
    let record = try foundationJSON(out + "/llama-convert.json")
    #expect(record["schema"] as? String == "llama-convert/1")
    let tool = try #require(record["tool"] as? [String: Any])
    #expect(tool["name"] as? String == "swift-llama-convert" && tool["version"] is String)
    #expect((record["options"] as? [String: Any])?["to"] as? String == "fp8")
    #expect(try record["plan_sha256"] as? String == plan(model.path, .fp8(.fp8)).digest)
    #expect((record["output"] as? [String: Any])?["model_digest"] as? String == check.digest.model)
    let input = try #require(record["input"] as? [String: Any])
    #expect(input["name"] as? String == "model" && input["layout"] as? String == "hf-safetensors")
    let files = try #require(input["files"] as? [[String: Any]])
    let names = files.compactMap { $0["name"] as? String }
    #expect(names.sorted() == (try contents(ofDirectory: model.path)).keys.sorted())
    #expect(files.allSatisfy { ($0["sha256"] as? String)?.count == 64 && $0["bytes"] is Int })
    try checkTensors(try #require(record["tensors"] as? [[String: Any]]))
    let proof = try #require(record["self_check"] as? [String: Int])
    #expect(proof == ["proven_equal": 10, "checked_value_by_value": 28])
    let whole = try text(out + "/llama-convert.json")
    #expect(!whole.contains(model.parent) && !whole.contains("\"/") && !whole.contains(NSUserName() + "@"))
  }

  private func checkTensors(_ tensors: [[String: Any]]) throws {
    #expect(tensors.count == 38)
    for tensor in tensors {
      let name = try #require(tensor["name"] as? String)
      #expect((tensor["sha256"] as? String)?.count == 64, "\(name)")
      #expect(tensor["from"] as? String == "BF16" && tensor["shape"] is [Int], "\(name)")
      if name.contains("_proj") {
        #expect(tensor["to"] as? String == "F8_E4M3" && tensor["operation"] as? String == "quantize fp8", "\(name)")
        // Three mantissa bits: rounding of uniformly spread values has 31.5 dB on average, any real matrix is near.
        let decibels = try #require(tensor["sqnr_db"] as? Double)
        #expect((28...36).contains(decibels), "\(name)")
        #expect(tensor["saturated"] is Int && tensor["zero_rows"] as? Int == 0, "\(name)")
      } else {
        #expect(tensor["to"] as? String == "BF16" && tensor["operation"] as? String == "copy", "\(name)")
        #expect(tensor["sqnr_db"] == nil, "\(name)")
      }
    }
  }

  @Test("--force replaces an output in one step; a failing run leaves the old one")
  func replacing() throws {
    try convert(model.path, to: out, .fp8(.fp8Compat))
    let old = try contents(ofDirectory: out)
    var options = ConversionOptions.fp8(.fp8)
    options.force = true
    let name = "model.layers.2.mlp.up_proj.weight"
    let good = try model.weights[name].bytes
    try model.edit(name) { $0.setHalf(0x7FC0, at: 0) }
    #expect(throws: ParseFailure.self) { try convert(model.path, to: out, options) }
    #expect(try contents(ofDirectory: out) == old)
    try model.edit(name) { $0.bytes = good }
    try convert(model.path, to: out, options)
    let new = try contents(ofDirectory: out)
    #expect(new != old && new.keys == old.keys)
    #expect(try FileManager.default.contentsOfDirectory(atPath: model.parent).sorted() == ["model", "out"])
  }

  @Test("Without sums of files all else is the same, and the input's own list is compared nevertheless")
  func withoutFileSums() throws {
    var options = ConversionOptions(layout: .meta, tensorParallel: 2)
    try convert(model.path, to: out, options)
    options.sumsFiles = false
    try convert(model.path, to: model.beside("bare"), options)
    let (full, bare) = (try contents(ofDirectory: out), try contents(ofDirectory: model.beside("bare")))
    #expect(Set(full.keys).subtracting(bare.keys) == ["SHA256SUMS", "checklist.chk"])
    for (name, bytes) in bare where name != "llama-convert.json" { #expect(full[name] == bytes, "\(name)") }
    let record = try foundationJSON(model.beside("bare") + "/llama-convert.json")
    let files = try #require((record["input"] as? [String: Any])?["files"] as? [[String: Any]])
    #expect(!files.isEmpty && files.allSatisfy { $0["sha256"] is NSNull })
    let one = try #require(record["tensors"] as? [[String: Any]])
    #expect(one.allSatisfy { ($0["sha256"] as? String)?.count == 64 })

    // Of two lists that came with it the one of MD5 is left.
    try FileManager.default.removeItem(atPath: out + "/SHA256SUMS")
    let shard = URL(filePath: out + "/params.json")
    try Data((try text(shard.path) + " ").utf8).write(to: shard)
    let failure = #expect(throws: ParseFailure.self) {
      try convert(out, to: model.beside("x"), ConversionOptions(layout: .huggingFace, sumsFiles: false))
    }
    #expect(failure?.message.contains("MD5") == true)
  }
}
