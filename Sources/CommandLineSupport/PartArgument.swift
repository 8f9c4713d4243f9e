internal import ArgumentParser
public import Checkpoints
internal import Foundation

/// `--part`: which share of the work this process does. Parts are counted from 0, as the indices of Kubernetes are.
///
/// - `2/4` is the third of four parts;
/// - `env/4` takes the index from `JOB_COMPLETION_INDEX` (Kubernetes Indexed Job) or `SLURM_ARRAY_TASK_ID` (Slurm array);
/// - `env` takes the count too: from `JOB_COMPLETION_COUNT`, which a manifest sets to its `completions`, or from the bounds
///   of the Slurm array, whose first task is then part 0.
public struct PartArgument: Sendable, Equatable {
  public let part: WorkPart

  /// For `@Option(transform:)`.
  /// - Throws: `ValidationError` that says what is wrong or which variable is missing.
  public init(argument: String) throws {
    try self.init(argument: argument, environment: ProcessInfo.processInfo.environment)
  }

  /// - Parameter environment: variables by name.
  public init(argument: String, environment: [String: String]) throws {
    let pieces = argument.split(separator: "/", omittingEmptySubsequences: false)
    let first = pieces.first ?? ""
    guard pieces.count <= 2, !first.isEmpty else { throw Self.malformed(argument) }
    let count = try pieces.count == 2 ? Self.number(pieces[1], or: Self.malformed(argument)) : nil
    if first == "env" {
      part = try Self.part(environment, count: count)
      return
    }
    guard let count else { throw Self.malformed(argument) }
    part = try Self.part(Self.number(first, or: Self.malformed(argument)), of: count, "--part \(argument)")
  }

  private static func malformed(_ argument: String) -> ValidationError {
    ValidationError("--part \(argument): give INDEX/COUNT such as 0/4, env/COUNT, or env")
  }

  private static func number(_ text: Substring, or error: ValidationError) throws -> Int {
    guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      let number = Int(text)
    else { throw error }
    return number
  }

  private static func part(_ index: Int, of count: Int, _ source: String) throws -> WorkPart {
    guard let part = WorkPart(index, of: count) else {
      throw ValidationError(
        "\(source): part \(index) of \(count) does not exist; parts are 0 to COUNT − 1, of at most \(WorkPart.maximumCount)"
      )
    }
    return part
  }

  private static func part(_ environment: [String: String], count: Int?) throws -> WorkPart {
    func number(_ name: String) throws -> Int? {
      guard let text = environment[name] else { return nil }
      return try Self.number(text[...], or: ValidationError("\(name) is \(text), which is no number"))
    }
    let completion = try number("JOB_COMPLETION_INDEX")
    let task = try number("SLURM_ARRAY_TASK_ID")
    switch (completion, task) {
    case (nil, nil):
      throw ValidationError("--part env: neither JOB_COMPLETION_INDEX nor SLURM_ARRAY_TASK_ID is set")
    case (.some, .some):
      throw ValidationError("--part env: both JOB_COMPLETION_INDEX and SLURM_ARRAY_TASK_ID are set; give INDEX/COUNT")
    case (let index?, nil):
      guard let count = try count ?? number("JOB_COMPLETION_COUNT") else {
        throw ValidationError("--part env: JOB_COMPLETION_COUNT is not set; give env/COUNT, the job's completions")
      }
      return try part(index, of: count, "JOB_COMPLETION_INDEX")
    case (nil, let task?):
      if let count { return try part(task, of: count, "SLURM_ARRAY_TASK_ID") }
      guard let first = try number("SLURM_ARRAY_TASK_MIN"), let last = try number("SLURM_ARRAY_TASK_MAX"),
        let count = try number("SLURM_ARRAY_TASK_COUNT"), count >= 1, first <= task, task <= last
      else { throw ValidationError("--part env: the bounds of the Slurm array are not set; give env/COUNT") }
      // A list with gaps says not which place a task has.
      let step = try number("SLURM_ARRAY_TASK_STEP") ?? 1
      guard step >= 1, last - first == (count - 1) * step, (task - first) % step == 0 else {
        throw ValidationError("--part env: the Slurm array \(first) to \(last) has gaps; give env/COUNT")
      }
      return try part((task - first) / step, of: count, "SLURM_ARRAY_TASK_ID")
    }
  }
}
