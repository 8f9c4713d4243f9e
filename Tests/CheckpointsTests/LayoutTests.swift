import ByteIO
import Checkpoints
import Foundation
import Support
import Tensors
import Testing

/// Files of a folder that is no checkpoint of ours, and what the refusal must say.
struct Folder: Sendable, CustomTestStringConvertible {
  let files: [String]
  let words: [String]

  var testDescription: String { files.isEmpty ? "an empty folder" : files.joined(separator: ", ") }

  static let all = [
    Folder(files: [], words: ["empty"]),
    Folder(files: ["params.json", "tokenizer.model"], words: ["Meta", "consolidated.00.pth"]),
    Folder(files: ["consolidated.00.pth"], words: ["Meta", "params.json"]),
    Folder(files: ["config.json", "pytorch_model.bin"], words: ["pytorch_model"]),
    Folder(
      files: ["config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
      words: ["pytorch_model"]),
    Folder(files: ["notes.txt"], words: ["no checkpoint layout"]),
    Folder(files: ["config.json"], words: ["no checkpoint layout"]),
    Folder(files: ["model.safetensors"], words: ["no checkpoint layout", "config.json"]),
    Folder(
      files: ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
      words: ["2 safetensors", "index"]),
  ]
}

@Suite struct LayoutTests {
  private func parseFailure(_ path: String) throws -> ParseFailure {
    try #require(throws: ParseFailure.self) { try Checkpoint(path: path) }
  }

  @Test("another layout is named", arguments: Folder.all)
  func namesLayouts(_ folder: Folder) throws {
    let place = try TemporaryFolder()
    for name in folder.files { try Data("{}".utf8).write(to: place.file(name)) }
    let failure = try parseFailure(place.url.path)
    for word in folder.words { #expect(failure.description.contains(word), "\(failure)") }
    #expect(failure.file == place.url.path && failure.advice != nil)
  }

  @Test func aMissingPathIsMissing() throws {
    let place = try TemporaryFolder()
    for path in [place.file("nothing").path, place.file("config.json/below").path, ""] {
      let failure = #expect(throws: FileFailure.self) { try Checkpoint(path: path) }
      #expect(failure?.kind == .missing && failure?.path == path)
    }
  }

  @Test func aFileIsNoDirectory() throws {
    let failure = try parseFailure(Fixtures.bundled("tiny/model.safetensors").path)
    #expect(failure.message.contains("file") && failure.advice?.contains("directory") == true)
    #expect(try parseFailure("/dev/null").message.contains("neither"))
  }

  @Test func aMissingShardIsMissingAndCounted() throws {
    let place = try TinyCheckpoint().written(shards: 4)
    try FileManager.default.removeItem(at: place.file("model-00002-of-00004.safetensors"))
    try FileManager.default.removeItem(at: place.file("model-00003-of-00004.safetensors"))
    let failure = #expect(throws: FileFailure.self) { try Checkpoint(path: place.url.path) }
    #expect(failure?.kind == .missing && failure?.path.contains("model-00002-of-00004") == true)
    #expect(failure?.detail.contains("2 of 4") == true)
  }

  @Test(
    "a damaged configuration is refused with the place",
    arguments: ["", "{", "[]", "null", "{\"a\": 1,}", "\u{FEFF}{}"])
  func refusesDamagedConfigurations(_ text: String) throws {
    let place = try TinyCheckpoint().written()
    try Data(text.utf8).write(to: place.file("config.json"))
    #expect(try parseFailure(place.url.path).file == place.file("config.json").path)
  }

  @Test func aConfigurationErrorNamesTheFileAndTheKey() throws {
    var model = TinyCheckpoint()
    model.configuration["attention_bias"] = true
    let place = try model.written()
    let failure = try parseFailure(place.url.path)
    #expect(failure.file == place.file("config.json").path && failure.message.contains("attention_bias"))
  }

  @Test func aTruncatedFileIsRefused() throws {
    let place = try TinyCheckpoint().written()
    let bytes = try Data(contentsOf: place.file("model.safetensors"))
    try bytes.dropLast().write(to: place.file("model.safetensors"))
    #expect(try parseFailure(place.url.path).file == place.file("model.safetensors").path)
  }

  @Test func aSingleFileBesideAnotherModelsIndexIsRefused() throws {
    let place = try TinyCheckpoint().written(shards: 2)
    try TinyCheckpoint(seed: 9).write(to: place.url)
    let failure = try parseFailure(place.url.path)
    #expect(failure.message.contains("model.safetensors.index.json") && failure.advice?.contains("remove") == true)
  }

  @Test func anIndexMayNameTheSingleFile() throws {
    let place = try TinyCheckpoint().written()
    let map = JSONObject(TinyCheckpoint().tensors.map { ($0.name, "model.safetensors") })
    let size = TinyCheckpoint().tensors.reduce(0) { $0 + $1.bytes.count }
    let index: JSONValue = ["metadata": ["total_size": .number(JSONNumber(size))], "weight_map": .object(map)]
    try Data(index.serialized().utf8).write(to: place.file("model.safetensors.index.json"))
    let checkpoint = try Checkpoint(path: place.url.path)
    #expect(checkpoint.tensors.count == 21 && checkpoint.notes.isEmpty)
  }

  @Test func aTensorThatTheIndexDoesNotListIsNoted() throws {
    let place = try TinyCheckpoint().written(shards: 2)
    let name = place.file("model-00001-of-00002.safetensors")
    var tensors = try TinyCheckpoint.tensors(ofFile: name)
    tensors.append(.init("stale.weight", .f32, [1], bytes: [0, 0, 0, 0]))
    try Data(TinyCheckpoint.safetensors(tensors)).write(to: name)
    let checkpoint = try Checkpoint(path: place.url.path)
    #expect(checkpoint.notes.count == 1 && checkpoint.notes[0].contains("stale.weight"))
  }
}
