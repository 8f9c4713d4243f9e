import ByteIO
import Foundation
import SafetensorsFormat
import Support
import Tensors
import Testing

/// A whole file with the verdict of the reference library (`golden/safetensors/cases.jsonl`).
struct ReferenceCase: Sendable, CustomTestStringConvertible {
  let name: String
  let bytes: [UInt8]
  let isAccepted: Bool
  /// Name, type, extents, bytes; sorted by name.
  let tensors: [[String]]
  var testDescription: String { name }

  static let all: [ReferenceCase] = {
    guard let text = try? String(contentsOf: Fixtures.golden("safetensors/cases.jsonl"), encoding: .utf8) else {
      return []
    }
    return text.split(separator: "\n").compactMap { try? ReferenceCase(line: String($0)) }
  }()

  init(line: String) throws {
    let value = try JSONValue(parsing: line)
    name = try #require(value["name"]?.string)
    isAccepted = try #require(value["accepted"]?.bool as Bool?)
    bytes = try #require(hexadecimal(value["hex"]?.string ?? "?"))
    tensors = (value["tensors"]?.object?.members ?? []).map { key, value in
      let fields = value.array ?? []
      return [
        key, fields[0].string ?? "", (fields[1].array ?? []).map { "\($0.integer ?? -1)" }.joined(separator: ","),
        "\(fields[2].integer ?? -1)",
      ]
    }.sorted { $0[0] < $1[0] }
  }
}

/// Bytes from hexadecimal digits; nil for anything else.
func hexadecimal(_ text: String) -> [UInt8]? {
  let digits = text.compactMap(\.hexDigitValue)
  guard digits.count == text.count, digits.count % 2 == 0 else { return nil }
  return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

func parse(_ file: [UInt8]) throws(ParseFailure) -> SafetensorsHeader {
  try SafetensorsHeader(parsing: file.span.rawBytes, fileByteCount: UInt64(file.count))
}

@Suite("Verdicts of the reference library")
struct ReferenceCaseTests {
  /// Where this reader is stricter on purpose: a tensor listed twice loses one of the two silently, and no writer spells
  /// entries as arrays or dtypes as maps.
  static let deliberatelyRefused: Set = ["duplicate_tensor_key_last_wins", "info_as_array", "dtype_as_map"]

  @Test func allCasesAreThere() {
    #expect(ReferenceCase.all.count == 89)
    #expect(ReferenceCase.all.count(where: \.isAccepted) == 44)
    #expect(Self.deliberatelyRefused.isSubset(of: ReferenceCase.all.filter(\.isAccepted).map(\.name)))
  }

  @Test(arguments: ReferenceCase.all)
  func verdictAndContent(_ file: ReferenceCase) throws {
    guard file.isAccepted && !Self.deliberatelyRefused.contains(file.name) else {
      let failure = #expect(throws: ParseFailure.self) { try parse(file.bytes) }
      #expect(failure?.offset != nil, "\(String(describing: failure))")
      return
    }
    let header = try parse(file.bytes)
    let found = header.entries.map(\.info).map { info in
      [
        info.name, info.elementType.rawValue, info.shape.dimensions.map(String.init).joined(separator: ","),
        "\(info.byteCount)",
      ]
    }
    #expect(found.sorted { $0[0] < $1[0] } == file.tensors)
    for entry in header.entries {
      #expect(header.entry(entry.info.name) == entry)
      #expect(header.fileRange(of: entry).upperBound <= UInt64(file.bytes.count))
    }
  }

  @Test(arguments: ReferenceCase.all)
  func fromAFileTheVerdictIsTheSame(_ file: ReferenceCase) throws {
    let folder = try TemporaryFolder()
    let path = folder.file("model.safetensors").path
    try FileSystem.write(file.bytes, toNew: path)
    guard file.isAccepted && !Self.deliberatelyRefused.contains(file.name) else {
      let failure = #expect(throws: ParseFailure.self) { try SafetensorsFile(path: path) }
      #expect(failure?.file == path)
      return
    }
    let opened = try SafetensorsFile(path: path)
    for info in opened.tensors {
      let start = Int(try #require(opened.fileOffset(of: info.name)))
      #expect(try opened.bytes(of: info.name) == Array(file.bytes[start..<start + info.byteCount]))
    }
  }
}
