import ByteIO
import Foundation
import GGUFFormat
import Support
import Tensors
import Testing

/// Bytes as a compact file that is open.
private func compact(_ bytes: [UInt8]) throws -> CompactFile {
  let folder = try TemporaryFolder()
  let url = folder.file("x.gguf")
  try Data(bytes).write(to: url)
  return try CompactFile(path: url.path)
}

@Suite("Vectors of the format page for compact files")
struct CompactPageTests {
  static let vectors = FormatPage.block("vectors", of: "compact")

  @Test func allVectorsAreRead() { #expect(Self.vectors.count == 28) }

  @Test(arguments: vectors)
  func verdict(_ line: String) throws {
    let words = FormatPage.words(line)
    let bytes = try FormatPage.bytes(words[1])
    func readAll() throws {
      let file = try compact(bytes)
      for tensor in file.tensors { _ = try file.bytes(of: tensor.name) }
      try file.proveIntegrity()
    }
    switch words[0] {
    case "accepts": try readAll()
    case "refuses":
      let failure = #expect(throws: ParseFailure.self) { try readAll() }
      #expect(failure?.item != nil && failure?.file?.hasSuffix("x.gguf") == true, "\(String(describing: failure))")
    default: Issue.record("the page has a verdict \(words[0])")
    }
  }

  /// What the page says of its first vector.
  @Test func firstVectorHoldsThis() throws {
    let file = try compact(try FormatPage.bytes(FormatPage.words(Self.vectors[0])[1]))
    #expect(file.configuration == "{}")
    #expect(file.files.map(\.name) == ["x"])
    #expect(try file.bytes(of: "files/x") == Array("hi".utf8))
    #expect(Set(file.tensors.map(\.name)) == ["a", "b", "c"])
    #expect(file.info("a") == (try TensorInfo(name: "a", elementType: .bf16, shape: [2, 3])))
    // 1, 2, 3, 4, 5, 6.
    #expect(
      try file.bytes(of: "a") == [0x80, 0x3F, 0x00, 0x40, 0x40, 0x40, 0x80, 0x40, 0xA0, 0x40, 0xC0, 0x40])
    #expect(file.info("b") == (try TensorInfo(name: "b", elementType: .i8, shape: [2, 2])))
    #expect(try file.bytes(of: "b") == [0xF8, 7, 0, 0xFF])
    #expect(file.info("c") == (try TensorInfo(name: "c", elementType: .f8e4m3, shape: [3])))
    #expect(try file.bytes(of: "c") == [0x38, 0xC0, 0x7E])
    // An odd start within a pair of codes.
    var code: [UInt8] = [0]
    var span = code.mutableSpan
    try file.read("b", at: 1, into: &span)
    #expect(code == [7])
  }

  @Test func keysAreThese() throws {
    let tensor = try CompactTensor(TensorInfo(name: "w", elementType: .f8e4m3, shape: [2, 2]))
    let quantized = CompactQuantization(
      weight: "w", scheme: "row", activations: "none", adapterScale: 0, isRotated: false)
    var other = GGUFMetadata()
    for key in ["general.type", "general.name", "compact.written_by", "compact.input_sha256"] {
      other.set(key, to: GGUFValue("x"))
    }
    let plan = try CompactPlan(
      [tensor], configuration: "{}", quantized: [quantized], metadata: other, fileName: "x.gguf")
    let header = try GGUFHeader(parsing: plan.headerBytes, fileByteCount: plan.maximumByteCount)
    var written: [String: String] = [:]
    for entry in header.metadata.entries {
      written[entry.key] = entry.value.typeText.replacing("array of 1", with: "ARRAY of")
    }
    var stated: [String: String] = [:]
    for line in FormatPage.block("keys", of: "compact") {
      let words = FormatPage.words(line)
      stated[words[0]] = words[1] == "ARRAY" ? words[1...3].joined(separator: " ") : words[1]
    }
    #expect(written == stated)
  }
}
