import Foundation
import Support
import Testing

private let tiny = Fixtures.bundled("tiny").path
/// 24 windows.
private let windows = ["--text", evaluationText, "--context", "128", "--tokens", "3000"]
/// What differs from run to run.
private let measured = [
  "seconds", "tokens_per_second", "peak_rss_bytes", "bytes_read", "weight_passes", "planned_memory",
]

@Suite("llama-verify --part and combine")
struct CombineTests {
  let model: ModelFolder
  let fp8: String
  let folder: String

  init() throws {
    model = try ModelFolder()
    (fp8, folder) = (model.beside("fp8"), model.beside("evidence"))
    let outcome = try run(.convert, "--to", "fp8", model.path, fp8)
    try #require(outcome.status == 0, "\(outcome.stderr)")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
  }

  private func part(_ part: String, into place: String? = nil, _ more: String...) throws -> Outcome {
    try run(.verify, [tiny, fp8, "--part", part, "--evidence", place ?? folder] + windows + more)
  }

  /// A report without what was measured, keys in their order.
  private func figures(_ report: String) throws -> String {
    var document = try #require(try JSONSerialization.jsonObject(with: Data(report.utf8)) as? [String: Any])
    var facts = try #require(document["run"] as? [String: Any])
    for key in measured { facts[key] = nil }
    document["run"] = facts
    return String(decoding: try JSONSerialization.data(withJSONObject: document, options: .sortedKeys), as: UTF8.self)
  }

  @Test("parts come to the report of one process; done twice, in any order, from files and folders")
  func combine() throws {
    let other = model.beside("second.bin")
    for (number, place) in [("2/3", nil), ("0/3", nil), ("1/3", other), ("0/3", nil)] {
      let outcome = try part(number, into: place)
      #expect(outcome.status == 0, "\(outcome.stderr)")
      #expect(outcome.stdout.contains("windows     8\n") && outcome.stdout.contains("tokens      1016\n"))
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    #expect(names == ["part-00000-of-00003.tokens.bin", "part-00002-of-00003.tokens.bin"])
    let whole = try run(.verify, [tiny, fp8, "--json", "--report", model.beside("whole")] + windows)
    let parts = try run(.verify, "combine", other, folder, "--json", "--report", model.beside("parts"))
    #expect(parts.status == whole.status && parts.stderr == "")
    #expect(try figures(parts.stdout) == figures(whole.stdout))
    let (one, two) = (
      try contents(ofDirectory: model.beside("whole")), try contents(ofDirectory: model.beside("parts"))
    )
    #expect(one.keys.sorted() == two.keys.sorted())
    #expect(two["report.json"].map { String(decoding: $0, as: UTF8.self) } == parts.stdout)
    // Scores and residual sums, to the bit: all before the facts.
    let scores = 48 + 12 * 24 + 13 * 3048 + 2 * 8 * 24 * 4 * 8
    #expect(one["tokens.bin"]?.prefix(scores).dropFirst(48) == two["tokens.bin"]?.prefix(scores).dropFirst(48))
  }

  @Test("several candidates: a file of each from every part, and the comparison that one process writes")
  func several() throws {
    let int4 = model.beside("int4")
    try #require(try run(.convert, "--to", "int4", model.path, int4).status == 0)
    let models = [tiny, fp8, int4]
    for number in ["0/2", "1/2"] {
      let outcome = try run(.verify, models + ["--part", number, "--evidence", folder] + windows)
      #expect(outcome.status == 0, "\(outcome.stderr)")
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    #expect(names.first == "part-00000-of-00002.candidate-01.tokens.bin" && names.count == 4)
    let whole = try run(.verify, models + ["--json", "--report", model.beside("whole")] + windows)
    let parts = try run(.verify, "combine", folder, "--json", "--report", model.beside("parts"))
    #expect(parts.status == whole.status && parts.stderr == "")
    #expect(try figures(parts.stdout) == figures(whole.stdout))
    func files(_ folder: String) throws -> [String] {
      try FileManager.default.subpathsOfDirectory(atPath: folder).sorted()
    }
    #expect(try files(model.beside("parts")) == files(model.beside("whole")))
    try FileManager.default.removeItem(atPath: "\(folder)/\(names[1])")
    let missing = try run(.verify, "combine", folder)
    #expect(missing.status == 65 && missing.stderr.contains("missing"), "\(missing.stderr)")
    try FileManager.default.removeItem(atPath: "\(folder)/\(names[3])")
    let none = try run(.verify, "combine", folder)
    #expect(none.status == 65 && none.stderr.contains("candidate 2 of 2 is missing"), "\(none.stderr)")
    let file = try run(.verify, models + ["--part", "0/2", "--evidence", model.beside("file.bin")] + windows)
    #expect(file.status == 64 && file.stderr.contains("folder"), "\(file.stderr)")
  }

  @Test("the policy may be given when parts are put together, and its verdict is the exit code")
  func policy() throws {
    for number in ["0/2", "1/2"] { #expect(try part(number).status == 0) }
    let lossless = try run(.verify, "combine", folder, "--policy", "lossless")
    #expect(lossless.status == 1 && lossless.stdout.hasPrefix("FAIL") && lossless.stdout.contains("digests differ"))
    let tight = model.beside("tight.yaml")
    try Data("name: tight\nmaximum_kld_mean: 1e-6\n".utf8).write(to: URL(filePath: tight))
    #expect(try run(.verify, "combine", folder, "--policy", tight).status == 1)
    // Scores of a model that differs in what no token of the text uses are exactly the base's; its digest is not.
    let (other, same) = (model.beside("other"), model.beside("same"))
    try FileManager.default.copyItem(atPath: tiny, toPath: other)
    let weights = URL(filePath: other + "/model.safetensors")
    var bytes = try Fixtures.bytes(weights)
    let header = bytes[0..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
    let text = String(decoding: bytes[8..<8 + header], as: UTF8.self)
    let start = try #require(text.range(of: "\"model.embed_tokens.weight\""))
    let offsets = try #require(text[start.upperBound...].range(of: "\"data_offsets\":["))
    let first = try #require(Int(text[offsets.upperBound...].prefix { $0.isNumber }))
    // The last row, a reserved token's, if the head is not the embedding; else scores differ too and the verdict is the same.
    bytes[8 + header + first + 2 * 256 * 2047 + 1] ^= 0x80
    try Data(bytes).write(to: weights)
    try FileManager.default.createDirectory(atPath: same, withIntermediateDirectories: false)
    for number in ["0/2", "1/2"] {
      #expect(try run(.verify, [tiny, other, "--part", number, "--evidence", same] + windows).status == 0)
    }
    let proof = try run(.verify, "combine", same, "--policy", "lossless")
    #expect(proof.status == 1 && proof.stdout.contains("digests differ"), "\(proof.stdout)")
  }

  @Test("parts that are missing, there twice, or of another run are refused by name")
  func refusals() throws {
    for number in ["0/3", "2/3"] { #expect(try part(number).status == 0) }
    func refuses(_ says: [String], _ arguments: String...) throws {
      let outcome = try run(.verify, ["combine"] + arguments)
      #expect(outcome.status == 65 && outcome.stdout == "", "\(outcome.stderr)")
      for text in says { #expect(outcome.stderr.contains(text), "\(outcome.stderr)") }
    }
    try refuses(["part 1/3", "missing"], folder)
    let first = "\(folder)/part-00000-of-00003.tokens.bin"
    try refuses(["part 0/3", "twice"], folder, first)
    let odd = model.beside("odd.bin")
    for (option, value, says) in [
      ("--seed", "9", "the seed is 9"), ("--context", "64", "the context is 64"), ("--tokens", "5000", "windows is 40"),
      ("--compute", "bf16", "--compute is bf16"), ("--policy", "lossless", "policy"),
    ] {
      // A later option replaces an earlier one.
      let outcome = try part("1/3", into: odd, option, value)
      try #require(outcome.status == 0, "\(outcome.stderr)")
      try refuses([odd, says, first], folder, odd)
    }
    let text = model.beside("text.txt")
    try Data(try Fixtures.bytes(Fixtures.bundled("eval.txt")).dropLast(1)).write(to: URL(filePath: text))
    try #require(try part("1/3", into: odd, "--text", text).status == 0)
    try refuses([odd, "SHA-256"], folder, odd)
    try #require(
      try run(.verify, [tiny, tiny, "--part", "1/3", "--evidence", odd] + windows).status == 0)
    try refuses([odd, "candidate's digest"], folder, odd)
    let whole = model.beside("whole")
    _ = try run(.verify, [tiny, fp8, "--report", whole] + windows)
    try refuses(["not of a part"], whole + "/tokens.bin")
    try Data("LLMTOKEN".utf8).write(to: URL(filePath: odd))
    try refuses([odd], folder, odd)
    try refuses(["holds no evidence"], model.parent)
  }

  @Test("a weight that is no number fails in parts as it does in one process")
  func notFinite() throws {
    let broken = model.beside("broken")
    try FileManager.default.copyItem(atPath: tiny, toPath: broken)
    let weights = URL(filePath: broken + "/model.safetensors")
    var bytes = try Fixtures.bytes(weights)
    // A NaN in BF16, in the last tensor of the file.
    bytes[bytes.count - 1] = 0x7F
    bytes[bytes.count - 2] = 0xC0
    try Data(bytes).write(to: weights)
    let whole = try run(.verify, [tiny, broken] + windows)
    for number in ["0/2", "1/2"] {
      let part = try run(.verify, [tiny, broken, "--part", number, "--evidence", folder] + windows)
      #expect(part.status == 0, "\(part.stderr)")
    }
    let parts = try run(.verify, "combine", folder)
    #expect(whole.status == 1 && parts.status == 1, "\(parts.stderr)")
    #expect(parts.stdout.split(separator: "\n").first == whole.stdout.split(separator: "\n").first)
  }

  @Test("wrong use is refused, and a part without a window says so")
  func usage() throws {
    for options in [["--part", "0/2"], ["--evidence", "x"], ["--part", "2/2", "--evidence", "x"]] {
      #expect(try run(.verify, [tiny, fp8] + windows + options).status == 64)
    }
    #expect(try part("0/2", into: nil, "--report", "r").status == 64)
    #expect(try part("0/2", into: nil, "--until-decided").status == 64)
    let empty = try part("99/100")
    #expect(empty.status == 65 && empty.stderr.contains("24 windows"))
  }
}
