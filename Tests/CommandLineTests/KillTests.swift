import Foundation
import Support
import Testing

/// A conversion that is killed: which one, and what it replaces.
struct KilledJob: Sendable {
  let name: String
  let options: [String]
  /// The output's name.
  var output = "out"
  /// An older output is there, and `--force` given.
  var replaces = false

  static let all = [
    KilledJob(name: "fp8 in shards", options: ["--to", "fp8", "--max-shard-size", "1MB"]),
    KilledJob(name: "fp8 over an older output", options: ["--to", "fp8", "--force"], replaces: true),
    KilledJob(name: "one GGUF", options: ["--to", "q8_0"], output: "out.gguf"),
    KilledJob(
      name: "one GGUF over an older one", options: ["--to", "q8_0", "--force"], output: "out.gguf", replaces: true),
    KilledJob(name: "a Meta directory", options: ["--format", "pth", "--tp", "2"]),
  ]
}

/// Whatever moment a process is killed at, no wrong file has a final name, and running the command again gives the bytes
/// of a run that nobody disturbed. `LLAMA_KILLS` sets how many are killed; Tests/Interop/test_kills.py kills at each of a
/// run's system calls that change the disk.
@Suite("Killed at any moment", .serialized)
struct KillTests {
  private static let count = ProcessInfo.processInfo.environment["LLAMA_KILLS"].flatMap { Int($0) } ?? 25

  let model: ModelFolder
  init() throws { model = try ModelFolder() }

  /// All files beside the model, by path.
  private func files(_ folder: String) throws -> [String: [UInt8]] {
    guard let paths = FileManager.default.enumerator(atPath: folder) else { return [:] }
    var files: [String: [UInt8]] = [:]
    for case let path as String in paths {
      var isDirectory: ObjCBool = false
      let full = folder + "/" + path
      guard FileManager.default.fileExists(atPath: full, isDirectory: &isDirectory), !isDirectory.boolValue else {
        continue
      }
      files[path] = try Fixtures.bytes(URL(filePath: full))
    }
    return files
  }

  private func isStaging(_ path: String) -> Bool {
    [".partial", ".journal"].contains { path.contains($0 + "/") || path.contains($0 + ".") }
  }

  private struct Expected {
    let job: KilledJob
    let old: [String: [UInt8]]
    let new: [String: [UInt8]]
    let seconds: Double
  }

  /// Results and time of a run that nobody disturbs.
  private func expected(_ job: KilledJob) throws -> Expected {
    let folder = model.beside("calm-\(job.name)")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    if job.replaces {
      let kept = job.options.filter { $0 != "--force" }.map { ["fp8": "fp8-compat", "q8_0": "q4_0"][$0] ?? $0 }
      #expect(try run(.convert, kept + [model.path, folder + "/" + job.output]).status == 0)
    }
    let old = try files(folder)
    let begin = Date()
    let outcome = try run(.convert, job.options + [model.path, folder + "/" + job.output])
    let seconds = Date().timeIntervalSince(begin)
    #expect(outcome.status == 0, "\(outcome.stderr)")
    return Expected(job: job, old: old, new: try files(folder), seconds: seconds)
  }

  /// What has a final name is an output as a whole: the old one, or the new one.
  private func checkNames(_ folder: String, _ expected: Expected, _ place: String) throws {
    let files = try files(folder).filter { !isStaging($0.key) }
    let isDirectory = expected.job.output == "out"
    if isDirectory {
      #expect(files == expected.old || files == expected.new, "\(place): \(files.keys.sorted())")
      return
    }
    // Files of one output get their names one after the other: each is complete, and sums lie beside their own file only.
    let output = files[expected.job.output]
    #expect(output == expected.old[expected.job.output] || output == expected.new[expected.job.output], "\(place)")
    let whole = output == expected.new[expected.job.output] ? expected.new : expected.old
    for (name, bytes) in files { #expect(bytes == whole[name], "\(place): \(name)") }
  }

  /// Waits for a moment: a time, or what the program has come to.
  private func wait(_ started: Started, _ folder: String, _ expected: Expected, _ random: inout SeededRandom) -> String
  {
    let out = folder + "/" + expected.job.output
    let triggers = [
      out + ".journal", out + ".partial", out + ".journal/tiles", out + ".partial/llama-convert.json",
      out + ".partial/SHA256SUMS", out + ".journal/publication.json",
    ]
    if Bool.random(using: &random) {
      let delay = Double.random(in: 0...1.1 * expected.seconds, using: &random)
      usleep(UInt32(delay * 1e6))
      return "after \(Int(delay * 1000)) ms"
    }
    let trigger = triggers.randomElement(using: &random) ?? out
    while started.isRunning && access(trigger, F_OK) != 0 { usleep(50) }
    usleep(UInt32.random(in: 0...2000, using: &random))
    return "behind \(trigger.dropFirst(folder.count + 1))"
  }

  @Test("kill -9 at random moments, again and again, then rerun")
  func kill() throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    print("KillTests: seed \(seed), \(Self.count) kills")
    var jobs: [Expected] = []
    for job in KilledJob.all { jobs.append(try expected(job)) }
    var killed = 0
    var resumed = 0
    var round = 0
    while killed < Self.count {
      let expected = jobs[round % jobs.count]
      round += 1
      let folder = model.beside("round")
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
      defer { try? FileManager.default.removeItem(atPath: folder) }
      for (name, bytes) in expected.old {
        let file = URL(filePath: folder + "/" + name)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: file)
      }
      let threads = ["1", "2"].randomElement(using: &random) ?? "1"
      // After each tile, now and then, or never: a journal of every length.
      let checkpoint = ["0", "0", "0.01", "10"].randomElement(using: &random) ?? "0"
      let arguments =
        expected.job.options
        + ["--threads", threads, "--checkpoint", checkpoint, model.path, folder + "/" + expected.job.output]
      var places: [String] = []
      // Now and then the next one is killed too.
      repeat {
        let started = try Started(Program.convert.url, arguments)
        places.append(wait(started, folder, expected, &random))
        started.send(SIGKILL)
        let outcome = try started.outcome()
        if outcome.status == 128 + SIGKILL { killed += 1 }
        if outcome.stderr.contains("going on") || outcome.stderr.contains("completed the publication") { resumed += 1 }
        let place = "seed \(seed), round \(round), \(expected.job.name), \(places.joined(separator: ", "))"
        #expect(
          outcome.status == 128 + SIGKILL || outcome.status == 0 || outcome.status == 73, "\(place): \(outcome.stderr)")
        try checkNames(folder, expected, place)
      } while Int.random(in: 0..<3, using: &random) == 0
      let place = "seed \(seed), round \(round), \(expected.job.name), \(places.joined(separator: ", "))"
      // The lock is the last to go: where nothing else is left of the work, it was done and cleared up after.
      let left = try files(folder).filter { !$0.key.hasSuffix(".journal/lock") }
      let isDone = !expected.job.replaces && left == expected.new
      let last = try run(.convert, arguments)
      if last.stderr.contains("going on") || last.stderr.contains("completed the publication") { resumed += 1 }
      // An output that was published and cleared up after is one that exists.
      #expect(last.status == 0 || isDone && last.status == 73, "\(place): \(last.stderr)")
      #expect(try files(folder) == expected.new, "\(place)")
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: folder).filter {
          $0.hasSuffix(".journal") || $0.contains(".partial")
        }
          == [], "\(place)")
    }
    print("KillTests: \(killed) killed in \(round) rounds, \(resumed) went on with earlier work")
    #expect(resumed > 0)
  }
}
