import Foundation
import FuzzTargets
import Support
import Testing

/// Inputs that the fuzzers found: those that led to new places, and those that broke a promise once. `Tests/Fuzz/README.md`
/// says what those were.
@Suite("Fuzzing corpus")
struct ReplayTests {
  private static let folder = Fixtures.root.appending(path: "Tests/Fuzz/Corpus")

  /// Inputs that are kept in hexadecimal, one a line, beside the fixtures that they were found from.
  private static let lists: [FuzzTarget: String] = [
    .torch: "torch/corpus.txt", .gguf: "gguf/corpus.txt", .compact: "gguf/compact-corpus.txt",
  ]

  /// Name and content of each input, by name.
  private static func inputs(_ target: FuzzTarget) throws -> [(name: String, bytes: [UInt8])] {
    let folder = folder.appending(path: target.rawValue)
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    let files = try names.sorted().map { ($0, try Fixtures.bytes(folder.appending(path: $0))) }
    guard let list = lists[target] else { return files }
    let lines = try String(contentsOf: Fixtures.bundled(list), encoding: .utf8).split(separator: "\n")
    return files + lines.enumerated().map { ("line \($0 + 1)", bytes(hexadecimal: $1)) }
  }

  private static func bytes(hexadecimal line: Substring) -> [UInt8] {
    let digits = line.utf8.map { Character(Unicode.Scalar($0)).hexDigitValue ?? 0 }
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }

  @Test(
    "Every input ends with a value or a ParseFailure, and what was read is written and read again",
    arguments: FuzzTarget.allCases)
  func replay(_ target: FuzzTarget) throws {
    let inputs = try Self.inputs(target)
    #expect(!inputs.isEmpty)
    for input in inputs {
      do { try target.run(input.bytes) } catch { Issue.record("\(target.rawValue)/\(input.name): \(error)") }
    }
  }

  @Test("Every input cut short at any place, and with any one byte set, ends so too", arguments: FuzzTarget.allCases)
  func damaged(_ target: FuzzTarget) throws {
    var random = SeededRandom(seed: 8)
    let inputs = try Self.inputs(target).filter { $0.bytes.count <= 4096 }.prefix(20)
    for input in inputs {
      for _ in 0..<20 {
        var bytes = input.bytes
        guard let place = bytes.indices.randomElement(using: &random) else { continue }
        if Bool.random(using: &random) {
          bytes = Array(bytes[..<place])
        } else {
          bytes[place] = UInt8.random(in: 0...255, using: &random)
        }
        do { try target.run(bytes) } catch {
          Issue.record("\(target.rawValue)/\(input.name), seed 8, \(Data(bytes).base64EncodedString()): \(error)")
        }
      }
    }
  }
}
