import Foundation
import Support
import Testing

/// A way to use a program wrongly.
struct Misuse: Sendable, CustomTestStringConvertible {
  let program: Program
  let arguments: [String]
  var testDescription: String { ([program.rawValue] + arguments).joined(separator: " ") }

  init(_ program: Program, _ arguments: String...) {
    self.program = program
    self.arguments = arguments
  }

  /// IN and OUT stand for the model and a free name beside it.
  static let all = [
    Misuse(.convert), Misuse(.convert, "IN"), Misuse(.convert, "IN", "OUT", "more"),
    Misuse(.convert, "--no-such-option", "IN", "OUT"), Misuse(.convert, "--to", "fp9", "IN", "OUT"),
    Misuse(.convert, "--to"), Misuse(.convert, "--format", "gif", "IN", "OUT"),
    Misuse(.convert, "--max-shard-size", "0", "IN", "OUT"),
    Misuse(.convert, "--max-shard-size", "5 apples", "IN", "OUT"),
    Misuse(.convert, "--threads", "0", "IN", "OUT"), Misuse(.convert, "--threads", "1025", "IN", "OUT"),
    Misuse(.convert, "--max-memory", "1MiB", "IN", "OUT"),
    Misuse(.convert, "--max-memory", "64MiB", "--threads", "64", "--to", "fp8", "IN", "OUT"),
    Misuse(.convert, "--dry-run", "--verify", "text", "IN", "OUT"),
    Misuse(.convert, "--ignore", "lm_head", "IN", "OUT"),
    Misuse(.convert, "--only", "lm_head", "--to", "bf16", "IN", "OUT"),
    Misuse(.convert, "--to", "fp8", "--ignore", "model.layers.9.mlp.up_proj", "IN", "OUT"),
    Misuse(.convert, "--to", "fp8", "--only", "re:.*expert.*", "IN", "OUT"),
    Misuse(.convert, "--to", "fp8", "--ignore", "re:[", "IN", "OUT"),
    Misuse(.convert, "--to", "fp8", "--only", "lm_head", "IN", "OUT"),
    Misuse(.convert, "inspect"), Misuse(.convert, "lint", "IN", "OUT"), Misuse(.convert, "digest", "--to", "fp8", "IN"),
    Misuse(.verify), Misuse(.verify, "IN"),
    Misuse(.verify, "IN", "--text", "t", "--context", "1"), Misuse(.verify, "IN", "--text", "t", "--tokens", "0"),
    Misuse(.verify, "IN", "--text", "t", "--compute", "fast"), Misuse(.verify, "IN", "--text", "t", "--emulate", "all"),
    Misuse(.verify, "IN", "--text", "t", "--emulate", "activations=int4"),
    Misuse(.verify, "logits", "IN", "--output", "OUT"),
  ]
}

@Suite("Exit statuses")
struct ExitStatusTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder(copying: "golden/model/bf16") }

  private var out: String { model.beside("out") }
  private var names: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: model.parent).sorted() }
  }

  @Test("0: a conversion that is done says what it made, on standard output")
  func done() throws {
    let outcome = try run(.convert, "--to", "fp8", model.path, out)
    #expect(outcome.status == 0 && outcome.stderr == "")
    #expect(outcome.stdout.contains(out) && outcome.stdout.contains("14 tensors"))
    #expect(try names == ["model", "out"])
  }

  @Test("64: wrong use is explained on standard error and touches nothing", arguments: Misuse.all)
  func usage(_ misuse: Misuse) throws {
    let arguments = misuse.arguments.map { $0 == "IN" ? model.path : $0 == "OUT" ? out : $0 }
    let outcome = try run(misuse.program, arguments)
    #expect(outcome.status == 64, "\(outcome.stderr)")
    #expect(outcome.stdout == "" && outcome.stderr != "")
    #expect(try names == ["model"])
  }

  @Test("64: an FP8 model is not quantized again")
  func quantizedTwice() throws {
    let fp8 = Fixtures.golden("model/fp8_dynamic").path
    let outcome = try run(.convert, "--to", "fp8", fp8, out)
    #expect(outcome.status == 64 && outcome.stdout == "" && outcome.messages.count == 1)
    #expect(outcome.stderr.contains(fp8) && outcome.stderr.contains("quantized already"))
    #expect(try names == ["model"])
  }

  @Test("66: an input that is not there", arguments: ["convert", "inspect", "lint", "digest"])
  func missing(_ command: String) throws {
    let path = model.beside("none")
    let outcome = try run(.convert, [command, path] + (command == "convert" ? [out] : []))
    #expect(outcome.status == 66 && outcome.stdout == "" && outcome.messages.count == 1)
    #expect(outcome.stderr.contains(path))
  }

  @Test("73: an output that exists, whatever it is, stays as it was")
  func existingOutput() throws {
    try FileManager.default.copyItem(at: Fixtures.bundled("golden/model/w8a8"), to: URL(filePath: out))
    try Data("a file".utf8).write(to: URL(filePath: model.beside("file")))
    let before = try contents(ofDirectory: out)
    for name in ["out", "file"] {
      let outcome = try run(.convert, "--to", "fp8", model.path, model.beside(name))
      #expect(outcome.status == 73 && outcome.stdout == "" && outcome.messages.count == 1)
      #expect(outcome.stderr.contains(model.beside(name)) && outcome.stderr.contains("--force"))
    }
    #expect(try contents(ofDirectory: out) == before)
    #expect(try String(contentsOfFile: model.beside("file"), encoding: .utf8) == "a file")
    #expect(try names == ["file", "model", "out"])
    #expect(try run(.convert, "--force", "--to", "fp8", model.path, out).status == 0)
    #expect(try contents(ofDirectory: out) != before)
  }

  @Test("73: an output that is the input, inside it, around it or in no directory", arguments: [[], ["--force"]])
  func impossibleOutput(_ options: [String]) throws {
    let before = try contents(ofDirectory: model.path)
    for output in [
      model.path, model.path + "/out", model.parent, model.beside("no/out"), model.parent + "/.", model.beside("a\nb"),
    ] {
      let outcome = try run(.convert, options + ["--to", "fp8", model.path, output])
      #expect(outcome.status == 73, "\(output): \(outcome.stderr)")
      #expect(outcome.stdout == "" && outcome.messages.count == 1)
    }
    #expect(try contents(ofDirectory: model.path) == before)
    #expect(try names == ["model"])
  }

  @Test("73: a report or evidence for which there is no place, before anything is scored")
  func noPlace() throws {
    let text = ["--text", evaluationText]
    for options in [
      ["--report", model.beside("no/report")], ["--part", "0/2", "--evidence", model.beside("no/x.bin")],
    ] {
      let outcome = try run(.verify, [model.path, model.path] + text + options)
      #expect(outcome.status == 73 && outcome.stdout == "" && !outcome.stderr.contains("forward"), "\(outcome.stderr)")
    }
    #expect(try run(.verify, ["--self-test", model.path, "--part", "0/2", "--evidence", "x"]).status == 64)
  }

  @Test("A pipe that nobody writes to is refused, not waited for")
  func pipe() throws {
    try FileManager.default.removeItem(at: model.file("model.safetensors"))
    try #require(mkfifo(model.file("model.safetensors").path, 0o600) == 0)
    #expect(try run(.convert, "--to", "fp8", model.path, model.beside("out")).status == 74)
    #expect(try run(.convert, "lint", model.path).status == 65)
    #expect(try run(.convert, "lint", model.file("model.safetensors").path).status != 0)
  }

  @Test("74: a disk that is too small", .enabled(if: TinyDisk.isPossible, "needs the right to mount"))
  func fullDisk() throws {
    let disk = try TinyDisk()
    let outcome = try run(.convert, "--to", "fp8", model.path, disk.path + "/out")
    #expect(outcome.status == 74 && outcome.stdout == "" && outcome.messages.count == 1)
    #expect(outcome.stderr.contains(disk.path) && outcome.stderr.contains("free"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: disk.path) == [])
  }

  @Test("74: a report for which the disk has no room", .enabled(if: TinyDisk.isPossible, "needs the right to mount"))
  func fullDiskForReport() throws {
    let disk = try TinyDisk()
    try Data(count: (1 << 20) - (16 << 10)).write(to: disk.url.appending(path: "filler"))
    let outcome = try run(
      .verify, Fixtures.bundled("tiny").path, "--text", evaluationText, "--tokens", "1000", "--report",
      disk.path + "/report")
    #expect(outcome.status == 74 && outcome.stdout == "" && outcome.messages.count == 1, "\(outcome.stderr)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: disk.path) == ["filler"])
  }

  @Test(
    "74: a result that cannot be written",
    .enabled(if: FileManager.default.fileExists(atPath: "/dev/full"), "needs /dev/full"))
  func fullStandardOutput() throws {
    for arguments in [["inspect", model.path], ["digest", model.path], ["--dry-run", model.path, out]] {
      let outcome = try Started(Program.convert.url, arguments, stdout: "/dev/full").outcome()
      #expect(outcome.status == 74 && outcome.messages.count == 1, "\(outcome.stderr.prefix(500))")
    }
  }

  private static let setpriv = "/usr/bin/setpriv"

  @Test(
    "77: a place where the user may not write, and a model that he may not read",
    .enabled(if: getuid() != 0 || FileManager.default.isExecutableFile(atPath: setpriv), "needs setpriv as root"))
  func permission() throws {
    func asNobody(_ arguments: [String]) throws -> Outcome {
      let program = Program.convert.url
      if getuid() != 0 { return try Started(program, arguments).outcome() }
      return try Started(
        URL(filePath: Self.setpriv), ["--reuid=65534", "--regid=65534", "--clear-groups", program.path] + arguments
      ).outcome()
    }
    func setMode(_ mode: Int, _ path: String) throws {
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }
    try setMode(0o555, model.parent)
    defer { try? setMode(0o755, model.parent) }
    let unwritable = try asNobody(["--to", "fp8", model.path, out])
    #expect(unwritable.status == 77 && unwritable.stdout == "" && unwritable.messages.count == 1)
    #expect(unwritable.stderr.contains(model.parent))
    try setMode(0o000, model.file("model.safetensors").path)
    let unreadable = try asNobody(["digest", model.path])
    #expect(unreadable.status == 77 && unreadable.stdout == "" && unreadable.messages.count == 1)
    #expect(unreadable.stderr.contains("model.safetensors"))
  }
}
