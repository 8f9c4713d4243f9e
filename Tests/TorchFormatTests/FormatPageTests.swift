import ByteIO
import Foundation
import Support
import Tensors
import Testing
import TorchFormat

/// What `formats/pth.md` says, held against the code. `Tests/Interop/test_torch.py` holds it against torch.
enum FormatPage {
  /// The lines of the page's fenced block called `name`.
  static func block(_ name: String) -> [String] {
    let url = Fixtures.root.appending(path: "formats/pth.md")
    guard let page = try? String(contentsOf: url, encoding: .utf8) else { return [] }
    let lines = page.components(separatedBy: "\n").drop { $0 != "```\(name)" }.dropFirst()
    return Array(lines.prefix { $0 != "```" })
  }

  /// A line's first word, and what follows it.
  static func split(_ line: String) -> (String, String) {
    let parts = line.split(separator: " ", maxSplits: 1)
    return (String(parts[0]), parts.count > 1 ? parts[1].trimmingCharacters(in: .whitespaces) : "")
  }

  static func contents(_ pickle: [UInt8]) throws -> TorchContents {
    try TorchContents(TorchBytes.archive(pickle).encoded.bytes)
  }
}

@Suite("Vectors of the format page for torch files")
struct FormatPageTests {
  @Test func allVectorsAreRead() { #expect(FormatPage.block("vectors").count == 73) }

  @Test func wordsAreThoseOfTheTests() {
    let words = Dictionary(uniqueKeysWithValues: FormatPage.block("words").map(FormatPage.split))
    #expect(words == PickleAssembler.words)
  }

  @Test(arguments: FormatPage.block("vectors"))
  func verdict(_ line: String) throws {
    let (verdict, text) = FormatPage.split(line)
    let pickle = PickleAssembler(text).bytes
    switch verdict {
    case "accepts", "looser": _ = try FormatPage.contents(pickle)
    case "refuses", "stricter": #expect(throws: ParseFailure.self) { try FormatPage.contents(pickle) }
    default: Issue.record("the page has a verdict \(verdict)")
    }
  }

  @Test func opcodesAreThese() {
    let listed = Set(FormatPage.block("opcodes").joined(separator: " ").split(separator: " ").map(String.init))
    let known = Set(listed.compactMap { PickleAssembler.opcodes[$0] })
    #expect(known.count == listed.count && known.count == 34)
    var read: Set<UInt8> = [0x80]  // PROTO begins every pickle.
    for byte in UInt8.min...UInt8.max {
      // A mark and enough values for any opcode; what follows makes no sense, which is another fault.
      let front = PickleAssembler("EMPTY_DICT MARK EMPTY_LIST EMPTY_TUPLE 1 2", isWhole: false).bytes
      do {
        _ = try FormatPage.contents(front + [byte, 0xFF])
      } catch let failure as ParseFailure {
        if !failure.message.contains("has opcode 0x\(String(byte, radix: 16)),") { read.insert(byte) }
      } catch { Issue.record(error) }
    }
    #expect(read == known)
  }

  @Test(arguments: FormatPage.block("globals"))
  func mentionsNames(_ name: String) throws {
    #expect(try FormatPage.contents(PickleAssembler(#"EMPTY_DICT "a" @\#(name) SETITEM"#).bytes).others == ["a"])
  }

  @Test(arguments: FormatPage.block("types"))
  func knowsTypes(_ line: String) throws {
    let words = line.split(separator: " ").map(String.init)
    let type = try #require(ElementType(rawValue: words[2]))
    let count = 16 * 8 / type.bits
    let all = "0 \(count) TUPLE1 1 TUPLE1 NEWFALSE $hooks"
    var forms = ["$v3 $untyped \(all) @torch.\(words[0]) TUPLE REDUCE"]
    for module in words[1] == "-" ? [] : ["torch", "torch.cuda"] {
      forms.append(
        #"$v2 MARK "storage" @\#(module).\#(words[1]) "0" "cpu" \#(count) TUPLE BINPERSID \#(all) TUPLE REDUCE"#)
    }
    for form in forms {
      let contents = try FormatPage.contents(PickleAssembler(#"EMPTY_DICT "a" \#(form) SETITEM"#).bytes)
      #expect(contents.tensors.map(\.info.elementType) == [type])
      #expect(contents.tensors.map(\.bytes) == [TorchBytes.sixteen])
    }
    // And writes it as torch does: with this class, or without.
    let info = try TensorInfo(name: "a", elementType: type, shape: [count])
    let written = try pickle(writing: [info])
    let storage = words[1] == "-" ? "torch.storage\nUntypedStorage\n" : "torch\n\(words[1])\n"
    #expect(String(decoding: written, as: UTF8.self).contains(storage))
  }

  @Test func allTypesOfTorchAreListed() {
    #expect(FormatPage.block("types").count == 18)
    let listed = Set(FormatPage.block("types").compactMap { $0.split(separator: " ").last.map(String.init) })
    for type in ElementType.allCases where !listed.contains(type.rawValue) {
      #expect(throws: ParseFailure.self, "\(type)") {
        try TorchLayout(fileName: "x.pth", tensors: [TensorInfo(name: "a", elementType: type, shape: [8])])
      }
    }
  }

  @Test func limitsAreThese() {
    let limits: [(String, Int)] = [
      ("records", ZipLimits.entries), ("name", ZipLimits.nameBytes), ("central directory", ZipLimits.directoryBytes),
      ("inflated to one", Int(ZipLimits.inflateRatio)), ("pickle", PickleLimits.byteCount),
      ("values in a pickle", PickleLimits.values), ("memo index", PickleLimits.memoIndex),
      ("open marks", PickleLimits.marks), ("string", PickleLimits.stringBytes),
      ("dimensions", PickleLimits.dimensions), ("repeated bytes", ViewLimits.repeatedByteCount),
      ("gap", ViewLimits.gap),
    ]
    let page = FormatPage.block("limits").map { $0.split(separator: " ").joined(separator: " ") }
    #expect(page == limits.map { "\($0.0) \($0.1)" })
  }

  @Test func writesWhatTorchWrites() throws {
    let info = try TensorInfo(name: "a", elementType: .bf16, shape: [2])
    let hexadecimal = try pickle(writing: [info]).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }
    #expect(hexadecimal.joined() == FormatPage.block("written").joined())
  }

  /// The record `data.pkl` of a file of zeros.
  private func pickle(writing tensors: [TensorInfo]) throws -> [UInt8] {
    let folder = try TemporaryFolder()
    let writer = try TorchWriter(creating: TorchLayout(fileName: "x.pth", tensors: tensors), in: folder.url.path)
    for tensor in tensors {
      let zeros = [UInt8](repeating: 0, count: tensor.byteCount)
      try writer.write(tensor.name, at: 0, zeros.span)
    }
    try writer.finish()
    let file = try ReadableFile(path: folder.file("x.pth").path)
    let entry = try #require(try ZipArchive(reading: file).entry("x/data.pkl"))
    return try file.bytes(at: entry.dataOffset, count: Int(entry.byteCount))
  }
}
