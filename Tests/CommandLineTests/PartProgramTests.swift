import Foundation
import Support
import Testing

/// Parts and `finish` as processes.
@Suite("llama-convert --part and finish")
struct PartProgramTests {
  let model: ModelFolder
  let out: String
  init() throws {
    model = try ModelFolder(copying: "golden/model/bf16")
    out = model.beside("out")
  }

  private var names: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: model.parent).sorted() }
  }

  @Test("Parts from the command line and the environment, missing ones, finish, finish again")
  func parts() throws {
    #expect(try run(.convert, "--to", "fp8", model.path, model.beside("calm")).status == 0)
    let nothing = try run(.convert, "finish", out)
    // Both jobs of a pipeline may begin together.
    #expect(nothing.status == 75 && nothing.messages.count == 1, "\(nothing.stderr)")

    let first = try run(.convert, "--to", "fp8", "--part", "0/3", "--json", model.path, out)
    #expect(first.status == 0, "\(first.stderr)")
    #expect(first.json?["schema"] as? String == "llama-convert-part/1" && first.json?["parts"] as? Int == 3)
    let missing = try run(.convert, "finish", out)
    #expect(missing.status == 75 && missing.stdout == "" && missing.messages.count == 1)
    #expect(missing.stderr.contains("of 3 parts these are not done: 1, 2;"), "\(missing.stderr)")
    let single = try run(.convert, "--to", "fp8", model.path, out)
    #expect(single.status == 73 && single.stderr.contains("3 parts"), "\(single.stderr)")

    for index in 1...2 {
      let part = try Started(
        Program.convert.url, ["--to", "fp8", "--part", "env", model.path, out],
        environment: ["JOB_COMPLETION_INDEX": "\(index)", "JOB_COMPLETION_COUNT": "3"])
      let outcome = try part.outcome()
      #expect(outcome.status == 0 && outcome.stdout.contains("\(index)/3"), "\(outcome.stderr)")
    }
    let finished = try run(.convert, "finish", out)
    #expect(finished.status == 0 && finished.stdout.hasPrefix("published   \(out)\n"), "\(finished.stderr)")
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("calm")))
    #expect(try names == ["calm", "model", "out"])

    let again = try run(.convert, "finish", out)
    #expect(again.status == 0 && again.stdout.contains("already"))
    let record = try run(.convert, "finish", "--json", out)
    #expect(record.status == 0 && record.json?["schema"] as? String == "llama-convert/1")
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("calm")))
  }

  @Test("Parts that begin at the same moment do not hinder each other", arguments: 0..<4)
  func simultaneous(_ round: Int) throws {
    let parts = try (0..<4).map { index in
      try Started(Program.convert.url, ["--to", "fp8", "--threads", "1", "--part", "\(index)/4", model.path, out])
    }
    for part in parts {
      let outcome = try part.outcome()
      #expect(outcome.status == 0 && outcome.stderr == "", "\(outcome.stderr)")
    }
    #expect(try run(.convert, "finish", out).status == 0)
    #expect(try run(.convert, "--to", "fp8", model.path, model.beside("calm")).status == 0)
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("calm")))
  }

  @Test(
    "What is wrong with the gate is told before the work, and what it cannot decide leaves the parts for the next time")
  func undecided() throws {
    let tiny = Fixtures.bundled("tiny").path
    for index in 0...1 { #expect(try run(.convert, "--to", "fp8", "--part", "\(index)/2", tiny, out).status == 0) }
    let short = model.beside("short.txt")
    try Data(Data(contentsOf: URL(filePath: evaluationText)).prefix(600)).write(to: URL(filePath: short))
    for (options, status) in [
      (["--verify", "/nonexistent"], 66), (["--verify", evaluationText, "--policy", "nosuch"], 66),
      (["--verify", evaluationText, "--max-memory", "45MiB"], 64), (["--verify", short], 2),
    ] as [([String], Int32)] {
      let outcome = try run(.convert, ["finish", out] + options)
      #expect(outcome.status == status, "\(options): \(outcome.status) \(outcome.stderr)")
      #expect(try Set(names).isSuperset(of: ["out.journal", "out.partial"]), "\(options): \(outcome.stderr)")
    }
    let done = try run(.convert, "finish", out, "--verify", evaluationText)
    #expect(done.status == 0, "\(done.stderr)")
    #expect(try names == ["model", "out", "short.txt"])
    #expect(try run(.convert, "finish", out, "--verify", evaluationText).stdout.contains("already"))
  }

  @Test("An output that was never judged, that lost a file, or that is to be replaced is not called done")
  func notDone() throws {
    #expect(try run(.convert, "--to", "fp8", model.path, out).status == 0)
    let unjudged = try run(.convert, "finish", "--verify", evaluationText, out)
    #expect(unjudged.status == 64 && unjudged.stderr.contains("never judged"), "\(unjudged.stderr)")
    let older = try run(.convert, "finish", "--force", out)
    #expect(older.status == 75 && older.stderr.contains("older"), "\(older.stderr)")
    #expect(try run(.convert, "finish", out).status == 0)
    try FileManager.default.removeItem(atPath: out + "/model.safetensors")
    #expect(try run(.convert, "finish", out).status != 0)
  }

  @Test("A directory of somebody else's that is called like a journal keeps its files")
  func foreignJournal() throws {
    let folder = out + ".journal"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    for name in ["part-1-of-my-diary.txt", "tiles.old"] {
      let file = URL(filePath: folder + "/" + name)
      try Data("mine".utf8).write(to: file)
      let outcome = try run(.convert, "--to", "fp8", model.path, out)
      #expect(outcome.status == 73 && outcome.stderr.contains(name), "\(outcome.stderr)")
      #expect(try Fixtures.bytes(file) == Array("mine".utf8))
      try FileManager.default.removeItem(at: file)
    }
  }

  @Test("finish --force replaces; finish of one process's work is refused")
  func replacing() throws {
    #expect(try run(.convert, model.path, out).status == 0)
    let old = try contents(ofDirectory: out)
    for index in 0...1 {
      let refused = try run(.convert, "--to", "fp8", "--part", "\(index)/2", model.path, out)
      #expect(refused.status == 73 && refused.stderr.contains("--force"))
      #expect(try run(.convert, "--to", "fp8", "--force", "--part", "\(index)/2", model.path, out).status == 0)
    }
    #expect(try contents(ofDirectory: out) == old)
    #expect(try run(.convert, "finish", "--force", out).status == 0)
    #expect(try run(.convert, "--to", "fp8", model.path, model.beside("calm")).status == 0)
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("calm")))
  }

  @Test(
    "64: parts that cannot be",
    arguments: [
      ["--part", "2/2"], ["--part", "env"], ["--part", "0/2", "--verify", "text"], ["--part", "0/2", "--dry-run"],
      ["--part", "0/2", "--no-resume"], ["--part", "0/2", "--format", "compact", "--compress"], ["--checkpoint", "-1"],
    ])
  func misuse(_ options: [String]) throws {
    let outcome = try run(.convert, options + [model.path, out])
    #expect(outcome.status == 64 && outcome.stdout == "" && outcome.stderr != "", "\(outcome.stderr)")
    #expect(try names == ["model"])
  }
}
