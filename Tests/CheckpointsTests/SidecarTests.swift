import ByteIO
import Checkpoints
import Foundation
import Support
import Testing

@Suite struct SidecarTests {
  private let manager = FileManager.default

  private func link(_ place: TemporaryFolder, _ name: String, to target: String) throws {
    try manager.createSymbolicLink(atPath: place.file(name).path, withDestinationPath: target)
  }

  @Test func modelFilesAreCarriedAndOthersAreNamed() throws {
    var model = TinyCheckpoint()
    let carried = [
      "LICENSE", "LICENSE.txt", "Notice", "USE_POLICY.md", "added_tokens.json", "chat_template.jinja",
      "generation_config.json", "merges.txt", "special_tokens_map.json", "tokenizer.model.v3", "tokenizer_config.json",
      "vocab.json",
    ]
    let left = [".gitattributes", "README.md", "model.safetensors.bak", "optimizer.pt", "pytorch_model.bin", "run.sh"]
    model.files = (carried + left).map { ($0, Array($0.utf8)) }
    try model.opened { checkpoint in
      #expect(checkpoint.sidecars.map(\.name) == carried)
      #expect(checkpoint.leftBehind == left)
      #expect(checkpoint.sidecars.allSatisfy { $0.byteCount == UInt64($0.name.utf8.count) })
    }
  }

  @Test func aLinkStandsForItsFile() throws {
    // As in the hub's cache: names are links into a folder of blobs.
    let place = try TinyCheckpoint().written()
    let blobs = try TemporaryFolder()
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
      if name == "tokenizer.json" {
        try manager.copyItem(at: Fixtures.bundled("tiny/tokenizer.json"), to: blobs.file(name))
      } else {
        try manager.moveItem(at: place.file(name), to: blobs.file(name))
      }
      try link(place, name, to: blobs.file(name).path)
    }
    let checkpoint = try Checkpoint(path: place.url.path)
    let sidecar = try #require(checkpoint.sidecars.first)
    let bytes = try Fixtures.bytes(Fixtures.bundled("tiny/tokenizer.json"))
    #expect(sidecar.name == "tokenizer.json" && sidecar.byteCount == UInt64(bytes.count))
    #expect(try Fixtures.bytes(URL(filePath: sidecar.path)) == bytes)
    #expect(checkpoint.notes.isEmpty)
  }

  @Test func whatIsNoFileIsLeftBehindAndNoted() throws {
    let place = try TinyCheckpoint().written()
    try link(place, "tokenizer.json", to: "/nowhere/blob")
    try link(place, "chat_template.jinja", to: place.file("chat_template.jinja").path)  // To itself.
    try link(place, "tokenizer.model", to: place.url.path)
    try manager.createDirectory(at: place.file("tokenizer_config.json"), withIntermediateDirectories: false)
    try link(place, "dangling", to: "/nowhere/other")
    #expect(mkfifo(place.file("LICENSE").path, 0o600) == 0)
    let checkpoint = try Checkpoint(path: place.url.path)
    #expect(checkpoint.sidecars.isEmpty)
    #expect(
      checkpoint.leftBehind == [
        "LICENSE", "chat_template.jinja", "dangling", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
      ])
    // Only those that would have been carried are worth a word.
    #expect(checkpoint.notes.count == 5)
    for name in ["LICENSE", "chat_template.jinja", "tokenizer.json", "tokenizer.model", "tokenizer_config.json"] {
      #expect(checkpoint.notes.contains { $0.hasPrefix(name + " ") })
    }
    #expect(try checkpoint.tokenizer() == nil)
  }

  @Test func hugeFilesAreNotRead() throws {
    let place = try TinyCheckpoint().written()
    let size = 1 << 40
    for name in ["tokenizer.json", "LICENSE"] {
      try Data().write(to: place.file(name))
      #expect(truncate(place.file(name).path, size) == 0, "the file system has no sparse files of 1 TiB")
    }
    let checkpoint = try Checkpoint(path: place.url.path)
    #expect(checkpoint.sidecars.map(\.byteCount) == [UInt64(size), UInt64(size)])
    let failure = #expect(throws: ParseFailure.self) { try checkpoint.tokenizer() }
    #expect(failure?.message.contains("\(size)") == true)
  }

  @Test func aHugeConfigurationIsRefusedUnread() throws {
    let place = try TinyCheckpoint().written()
    #expect(truncate(place.file("config.json").path, 1 << 40) == 0)
    let failure = #expect(throws: ParseFailure.self) { try Checkpoint(path: place.url.path) }
    #expect(failure?.file == place.file("config.json").path)
  }

  @Test func aConfigurationThatIsADirectoryIsAFileFailure() throws {
    let place = try TinyCheckpoint().written()
    try manager.removeItem(at: place.file("config.json"))
    try manager.createDirectory(at: place.file("config.json"), withIntermediateDirectories: false)
    #expect(throws: FileFailure.self) { try Checkpoint(path: place.url.path) }
  }
}
