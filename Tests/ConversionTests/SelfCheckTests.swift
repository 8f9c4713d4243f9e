import ByteIO
import Checkpoints
import Conversion
import Foundation
import Quantization
import SafetensorsFormat
import Support
import Tensors
import Testing

/// A change of one byte in a staged shard.
struct Damage: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let target: TargetType
  let tensor: String
  /// Byte of the tensor.
  let byte: Int
  let change: @Sendable (UInt8) -> UInt8

  init(
    _ description: String, _ target: TargetType, _ tensor: String, _ byte: Int,
    _ change: @escaping @Sendable (UInt8) -> UInt8
  ) {
    testDescription = "\(description), to \(target)"
    self.target = target
    self.tensor = tensor
    self.byte = byte
    self.change = change
  }

  private static let query = "model.layers.1.self_attn.q_proj.weight"
  private static let down = "model.layers.0.mlp.down_proj.weight"

  static let all: [Damage] =
    FP8Recipe.allCases.prefix(2).flatMap { recipe -> [Damage] in
      let fp8 = TargetType.fp8(recipe)
      return [
        Damage("a code's sign", fp8, query, 1001) { $0 ^ 0x80 },
        Damage("a code's exponent", fp8, query, 1001) { $0 ^ 0x40 },
        Damage("a code's highest mantissa bit", fp8, down, 77) { $0 ^ 0x04 },
        Damage("a NaN code", fp8, down, 0) { _ in 0x7F },
        Damage("a scale's sign", fp8, down + "_scale", 21) { $0 ^ 0x80 },
        Damage("a scale's exponent", fp8, down + "_scale", 21) { $0 ^ 0x01 },
        Damage("a scale's exponent gone", fp8, down + "_scale", 21) { _ in 0 },
        Damage("an infinite scale", fp8, query + "_scale", 1) { _ in 0x7F },
        // 12.5 to 25 % of the scale; e4m3 rounds by 6.25 % at most.
        Damage("a scale's second mantissa bit", fp8, down + "_scale", 20) { $0 ^ 0x20 },
        // Within what rounding may do: only quantizing again tells.
        Damage("a scale's last bit", fp8, down + "_scale", 20) { $0 ^ 0x01 },
        Damage("a code's last bit", fp8, down, 78) { $0 ^ 0x01 },
        Damage("a copied norm's last bit", fp8, "model.norm.weight", 30) { $0 ^ 0x01 },
        Damage("the copied embedding's last bit", fp8, "model.embed_tokens.weight", 4000) { $0 ^ 0x01 },
      ]
    } + [
      Damage("the last bit", .unchanged, query, 500) { $0 ^ 0x01 },
      // BF16 has all its values in F32, so the last bit cannot be rounding.
      Damage("the last bit", .element(.f32), query, 4 * 500) { $0 ^ 0x01 },
      Damage("the sign", .element(.f16), query, 2 * 500 + 1) { $0 ^ 0x80 },
      // F16 has more significant bits than BF16, and this weight is far from F16's subnormals.
      Damage("the last bit", .element(.f16), query, 2 * 500) { $0 ^ 0x01 },
    ]
}

@Suite("Self-check")
struct SelfCheckTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder(copying: "golden/model/bf16") }

  private func staged(_ options: ConversionOptions) throws -> ConversionRun {
    try ConversionRun(try plan(model.path, options, output: model.beside("out")))
  }

  /// Changes one byte of a staged file.
  private func change(_ file: String, at offset: Int, _ change: (UInt8) -> UInt8) throws {
    var bytes = try Fixtures.bytes(URL(filePath: file))
    let before = bytes[offset]
    bytes[offset] = change(before)
    try #require(bytes[offset] != before, "the damage changes the byte")
    let handle = try FileHandle(forWritingTo: URL(filePath: file))
    defer { try? handle.close() }
    try handle.seek(toOffset: UInt64(offset))
    try handle.write(contentsOf: [bytes[offset]])
  }

  @Test("What was written right passes, and counts what was proven how")
  func undamaged() throws {
    let check = try SelfCheck(try staged(.fp8(.fp8)))
    #expect(check.provenEqual == 7 && check.checkedValues == 14)
    #expect(check.digest.tensors.count == 21)
  }

  @Test("A single changed byte of a tensor is found and its tensor named", arguments: Damage.all)
  func damagedTensor(_ damage: Damage) throws {
    let run = try staged(ConversionOptions(target: damage.target))
    let shard = try #require(safetensors(run.plan).first)
    let offset = Int(try #require(shard.layout.fileOffset(of: damage.tensor))) + damage.byte
    try change(run.staging.file(shard.fileName), at: offset, damage.change)
    let failure = #expect(throws: ConversionFailure.self) { try SelfCheck(run) }
    #expect(failure?.kind == .selfCheck)
    let weight = damage.tensor.hasSuffix("_scale") ? String(damage.tensor.dropLast(6)) : damage.tensor
    #expect(failure?.message.contains(weight) == true)
  }

  @Test("A changed byte of the header is found wherever it is")
  func damagedHeader() throws {
    let run = try staged(.fp8(.fp8))
    let shard = try #require(safetensors(run.plan).first)
    let path = run.staging.file(shard.fileName)
    // A prime step: all kinds of places, from the length field over names and offsets to the padding.
    let offsets = Array(stride(from: 0, to: Int(shard.layout.dataOffset), by: 41)) + [Int(shard.layout.dataOffset) - 1]
    for offset in offsets {
      try change(path, at: offset) { $0 ^ 0x04 }
      let failure = #expect(throws: ConversionFailure.self, "byte \(offset)") { try SelfCheck(run) }
      #expect(failure?.kind == .selfCheck)
      try change(path, at: offset) { $0 ^ 0x04 }
    }
    _ = try SelfCheck(run)
  }

  @Test("A shard that was cut short or grew is found", arguments: [-1, 1])
  func damagedLength(_ difference: Int) throws {
    let run = try staged(.fp8(.fp8))
    let handle = try FileHandle(forUpdating: URL(filePath: run.staging.file("model.safetensors")))
    let size = try handle.seekToEnd()
    try handle.truncate(atOffset: UInt64(Int(size) + difference))
    try handle.close()
    #expect(#expect(throws: ConversionFailure.self) { try SelfCheck(run) }?.kind == .selfCheck)
  }

  @Test("A changed byte of configuration, index or tokenizer is found")
  func damagedDocuments() throws {
    let tiny = try ModelFolder()
    let options = ConversionOptions(target: .fp8(.fp8), maximumShardSize: 1_000_000)
    let run = try ConversionRun(try plan(tiny.path, options, output: tiny.beside("out")))
    let names = try FileManager.default.contentsOfDirectory(atPath: run.staging.path).filter {
      !$0.hasSuffix(".safetensors")
    }
    #expect(names.count == 6)
    for name in names {
      let path = run.staging.file(name)
      let count = try Fixtures.bytes(URL(filePath: path)).count
      for offset in [count / 3, count / 2, count - 1] {
        try change(path, at: offset) { $0 ^ 0x01 }
        let failure = #expect(throws: ConversionFailure.self, "\(name), byte \(offset)") { try SelfCheck(run) }
        #expect(failure?.kind == .selfCheck)
        #expect(failure?.message.contains(name) == true)
        try change(path, at: offset) { $0 ^ 0x01 }
      }
    }
    _ = try SelfCheck(run)
  }

  @Test("Files that were not planned, and planned files that are gone, are found")
  func otherFiles() throws {
    let run = try staged(ConversionOptions(maximumShardSize: 60_000))
    let stray = run.staging.file("consolidated.safetensors")
    #expect(FileManager.default.createFile(atPath: stray, contents: Data()))
    #expect(#expect(throws: ConversionFailure.self) { try SelfCheck(run) }?.kind == .selfCheck)
    try FileManager.default.removeItem(atPath: stray)
    _ = try SelfCheck(run)
    try FileManager.default.removeItem(atPath: run.staging.file("model-00001-of-00004.safetensors"))
    #expect(throws: (any Error).self) { try SelfCheck(run) }
  }
}
