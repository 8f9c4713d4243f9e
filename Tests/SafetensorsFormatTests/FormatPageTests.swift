import ByteIO
import Foundation
import SafetensorsFormat
import Support
import Tensors
import Testing

/// A vector of `formats/safetensors.md`.
struct PageVector: Sendable, CustomTestStringConvertible {
  enum Verdict: String { case accepts, refuses, stricter }
  let verdict: Verdict
  let bytes: [UInt8]
  let testDescription: String

  /// The lines of the page's fenced block called `name`; several blocks of one name follow each other.
  static func block(_ name: String) -> [String] {
    let url = Fixtures.root.appending(path: "formats/safetensors.md")
    guard let page = try? String(contentsOf: url, encoding: .utf8) else { return [] }
    var lines: [String] = []
    var isInside = false
    for line in page.components(separatedBy: "\n") {
      if line == "```\(name)" {
        isInside = true
      } else if line == "```" {
        isInside = false
      } else if isInside {
        lines.append(line)
      }
    }
    return lines
  }

  static let all: [PageVector] = block("vectors").map(header) + block("files").map(file)

  private static func header(_ line: String) -> PageVector {
    let parts = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: true)
    guard parts.count == 3, let verdict = Verdict(rawValue: String(parts[0])), let size = Int(parts[1]) else {
      preconditionFailure("a line of vectors is malformed: \(line)")
    }
    let json = Array(parts[2].utf8)
    return PageVector(
      verdict: verdict, bytes: lengthField(json.count) + json + [UInt8](repeating: 0, count: size),
      testDescription: line)
  }

  private static func file(_ line: String) -> PageVector {
    let parts = line.split(separator: " ")
    guard let first = parts.first, let verdict = Verdict(rawValue: String(first)),
      let bytes = hexadecimal(parts.count > 1 ? String(parts[1]) : "")
    else { preconditionFailure("a line of files is malformed: \(line)") }
    return PageVector(verdict: verdict, bytes: bytes, testDescription: line)
  }
}

func lengthField(_ count: Int) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) } }

@Suite("Vectors of the format page")
struct FormatPageTests {
  @Test func allVectorsAreRead() {
    #expect(PageVector.block("vectors").count == 58)
    #expect(PageVector.block("files").count == 14)
  }

  @Test(arguments: PageVector.all)
  func verdict(_ vector: PageVector) throws {
    if vector.verdict == .accepts {
      _ = try parse(vector.bytes)
    } else {
      #expect(throws: ParseFailure.self) { try parse(vector.bytes) }
    }
  }

  @Test func writtenFile() throws {
    let layout = try SafetensorsLayout([try tensor("a", .bf16, [2])])
    #expect(layout.headerBytes == hexadecimal(PageVector.block("written").joined()))
  }
}
