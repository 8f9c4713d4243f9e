import ByteIO
import Foundation
import GGUFFormat
import Support
import Tensors
import Testing

/// Inputs that led the fuzzer (`Tests/Fuzz`, target `gguf`) to new places, in hexadecimal: kept so that they stay harmless.
@Suite("GGUF inputs found by fuzzing")
struct FuzzCorpusTests {
  static let inputs = corpus("corpus")
  static let compactInputs = corpus("compact-corpus")

  private static func corpus(_ name: String) -> [[UInt8]] {
    let text = (try? String(contentsOf: Fixtures.bundled("gguf/\(name).txt"), encoding: .utf8)) ?? ""
    return text.split(separator: "\n").compactMap { try? FormatPage.bytes(String($0)) }
  }

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

  /// Those of the target `compact`: every tensor is read, or a failure says why not.
  @Test func compactFilesEndWithBytesOrAParseFailure() throws {
    #expect(Self.compactInputs.count == 162)
    let folder = try TemporaryFolder()
    let url = folder.file("x.gguf")
    var read = 0
    for input in Self.compactInputs {
      try Data(input).write(to: url)
      do {
        let file = try CompactFile(path: url.path)
        for tensor in file.tensors where tensor.byteCount <= 1 << 20 {
          #expect(try file.bytes(of: tensor.name).count == tensor.byteCount)
        }
        read += 1
      } catch is ParseFailure {
        // Anything else is a failure of the test.
      }
    }
    #expect(read >= 2 && read < Self.compactInputs.count)
  }
}
