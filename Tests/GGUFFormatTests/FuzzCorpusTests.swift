import ByteIO
import Foundation
import GGUFFormat
import Support
import Testing

/// Inputs that led the fuzzer (`Tests/Fuzz/GGUFFuzz`) to new places, in hexadecimal: kept so that they stay harmless.
@Suite("GGUF inputs found by fuzzing")
struct FuzzCorpusTests {
  static let inputs: [[UInt8]] = {
    let text = (try? String(contentsOf: Fixtures.bundled("gguf/corpus.txt"), encoding: .utf8)) ?? ""
    return text.split(separator: "\n").compactMap { try? FormatPage.bytes(String($0)) }
  }()

  @Test func endWithAHeaderOrAParseFailure() throws {
    #expect(Self.inputs.count == 229)
    var read = 0
    for input in Self.inputs {
      do {
        let header = try GGUFHeader(parsing: input, fileByteCount: UInt64(input.count))
        // What was read can be written, and is then read as the same.
        let layout = try GGUFLayout(
          header.entries.map(\.info), metadata: header.metadata, alignment: header.alignment)
        let again = try GGUFHeader(parsing: layout.headerBytes, fileByteCount: layout.fileByteCount)
        #expect(again.entries == header.entries && again.metadata == header.metadata)
        read += 1
      } catch is ParseFailure {
        // Anything else is a failure of the test.
      }
    }
    // Some are whole files: the others are damaged in ways that are told.
    #expect(read > 50 && read < Self.inputs.count)
  }
}
