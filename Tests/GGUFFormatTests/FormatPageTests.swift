import ByteIO
import Foundation
import GGUFFormat
import Support
import Tensors
import Testing

/// What `formats/gguf.md` says, held against the code. `Tests/Interop/test_gguf.py` holds it against `gguf`.
enum FormatPage {
  /// The lines of a page's fenced block called `name`.
  static func block(_ name: String, of page: String = "gguf") -> [String] {
    let url = Fixtures.root.appending(path: "formats/\(page).md")
    guard let page = try? String(contentsOf: url, encoding: .utf8) else { return [] }
    let lines = page.components(separatedBy: "\n").drop { $0 != "```\(name)" }.dropFirst()
    return Array(lines.prefix { $0 != "```" })
  }

  static func words(_ line: String) -> [String] { line.split(separator: " ").map(String.init) }

  static func bytes(_ digits: String) throws -> [UInt8] {
    let values = digits.compactMap(\.hexDigitValue)
    try #require(values.count == digits.count && values.count % 2 == 0)
    return stride(from: 0, to: values.count, by: 2).map { UInt8(values[$0] << 4 | values[$0 + 1]) }
  }
}

@Suite("Vectors of the format page for GGUF")
struct FormatPageTests {
  @Test func allVectorsAreRead() {
    #expect(FormatPage.block("vectors").count == 41)
    #expect(FormatPage.block("keys").count == 36)
  }

  @Test(arguments: FormatPage.block("vectors"))
  func verdict(_ line: String) throws {
    let words = FormatPage.words(line)
    let bytes = try FormatPage.bytes(words[1])
    switch words[0] {
    case "accepts": _ = try opened(bytes)
    case "refuses", "stricter":
      let failure = #expect(throws: ParseFailure.self) { try opened(bytes) }
      #expect(failure?.offset != nil)
    default: Issue.record("the page has a verdict \(words[0])")
    }
  }

  /// Numbers and sizes; the reference is another than the code's.
  @Test func typesAreThese() throws {
    let rows = FormatPage.block("types").map(FormatPage.words)
    #expect(rows.count == GGMLType.allTypes.count)
    for row in rows {
      let id = try #require(UInt32(row[0]))
      let type = try GGMLType.elementType(id: id)
      #expect(type.rawValue == row[1] && GGMLType.id(of: type) == id)
      #expect("\(type.block?.size.elements ?? 1)" == row[2] && "\(type.block?.size.bytes ?? type.bits / 8)" == row[3])
    }
    let known = Set(rows.compactMap { UInt32($0[0]) })
    for id in (0...UInt32(500)) where !known.contains(id) {
      #expect(throws: ParseFailure.self) { try GGMLType.elementType(id: id) }
    }
    #expect(GGMLType.id(of: .f8e4m3) == nil && GGMLType.id(of: .u8) == nil && GGMLType.id(of: .bool) == nil)
  }

  @Test func limitsAreThese() {
    let limits: [(String, Int)] = [
      ("header", Int(GGUFLimits.headerByteCount)), ("keys", GGUFLimits.keyCount), ("tensors", GGUFLimits.tensorCount),
      ("key", GGUFLimits.keyByteCount), ("string", Int(GGUFLimits.stringByteCount)),
      ("array", Int(GGUFLimits.arrayCount)), ("tensor name", GGUFLimits.tensorNameByteCount),
      ("dimensions", GGUFLimits.rank), ("alignment", GGUFLimits.alignment), ("pieces", GGUFLimits.pieceCount),
    ]
    let page = FormatPage.block("limits").map { FormatPage.words($0).joined(separator: " ") }
    #expect(page == limits.map { "\($0.0) \($0.1)" })
  }

  @Test func writesWhatTheReferenceWrites() throws {
    let bytes = try FormatPage.bytes(FormatPage.block("written").joined())
    var metadata = GGUFMetadata()
    metadata.set("general.architecture", to: GGUFValue("llama"))
    let layout = try GGUFLayout([try TensorInfo(name: "a", elementType: .bf16, shape: [2])], metadata: metadata)
    #expect(layout.headerBytes + [UInt8](repeating: 0, count: 32) == bytes)
    #expect(layout.fileByteCount == UInt64(bytes.count))
  }
}
