import ArgumentParser
import Checkpoints
import CommandLineSupport
import Support
import Testing

@Suite("--part")
struct PartArgumentTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let argument: String
    var environment: [String: String] = [:]
    /// Nil for a refusal.
    var expected: WorkPart?
    var testDescription: String { "\(argument) \(environment)" }
  }

  /// Slurm's variables as its documentation of job arrays gives them.
  private static func slurm(_ task: Int, _ bounds: ClosedRange<Int>, count: Int, step: Int = 1) -> [String: String] {
    [
      "SLURM_ARRAY_TASK_ID": "\(task)", "SLURM_ARRAY_TASK_MIN": "\(bounds.lowerBound)",
      "SLURM_ARRAY_TASK_MAX": "\(bounds.upperBound)", "SLURM_ARRAY_TASK_COUNT": "\(count)",
      "SLURM_ARRAY_TASK_STEP": "\(step)",
    ]
  }

  private static let cases = [
    Case(argument: "0/1", expected: WorkPart(0, of: 1)), Case(argument: "3/4", expected: WorkPart(3, of: 4)),
    Case(argument: "env/8", environment: ["JOB_COMPLETION_INDEX": "7"], expected: WorkPart(7, of: 8)),
    Case(
      argument: "env", environment: ["JOB_COMPLETION_INDEX": "0", "JOB_COMPLETION_COUNT": "3"],
      expected: WorkPart(0, of: 3)),
    Case(argument: "env", environment: slurm(0, 0...3, count: 4), expected: WorkPart(0, of: 4)),
    Case(argument: "env", environment: slurm(4, 1...4, count: 4), expected: WorkPart(3, of: 4)),
    Case(argument: "env", environment: slurm(6, 2...8, count: 4, step: 2), expected: WorkPart(2, of: 4)),
    // One task of four submitted again: the index is the task's own, the bounds say nothing.
    Case(argument: "env/4", environment: slurm(2, 2...2, count: 1), expected: WorkPart(2, of: 4)),
  ]

  @Test(arguments: cases)
  func isRead(_ given: Case) throws {
    #expect(try PartArgument(argument: given.argument, environment: given.environment).part == given.expected)
  }

  private static let refusals =
    [
      "", "1", "4/4", "-1/4", "1/0", "1/100001", "a/4", "1/4/4", "1/", "/4", " 1/4", "٣/4", "99999999999999999999/4",
    ].map { Case(argument: $0) } + [
      Case(argument: "env"), Case(argument: "env/4"),
      Case(argument: "env", environment: ["JOB_COMPLETION_INDEX": "1"]),
      Case(argument: "env/1", environment: ["JOB_COMPLETION_INDEX": "1"]),
      Case(argument: "env/2", environment: ["JOB_COMPLETION_INDEX": "one"]),
      Case(argument: "env", environment: ["SLURM_ARRAY_TASK_ID": "1"]),
      Case(argument: "env/4", environment: ["SLURM_ARRAY_TASK_ID": "1", "JOB_COMPLETION_INDEX": "1"]),
      // --array=1,5,7: gaps.
      Case(argument: "env", environment: slurm(5, 1...7, count: 3)),
      Case(argument: "env", environment: slurm(9, 1...7, count: 7)),
      Case(argument: "env", environment: slurm(3, 2...8, count: 4, step: 2)),
    ]

  @Test(arguments: refusals)
  func isRefused(_ given: Case) {
    #expect(throws: ValidationError.self) {
      try PartArgument(argument: given.argument, environment: given.environment)
    }
  }

  @Test("Parts cover all items once, in order, and none is more than one item above its share")
  func shares() {
    var random = SeededRandom(seed: 7)
    for _ in 0..<300 {
      let costs = (0..<Int.random(in: 0...40, using: &random)).map { _ in UInt64.random(in: 0...9, using: &random) }
      let count = Int.random(in: 1...12, using: &random)
      let ranges = (0..<count).compactMap { WorkPart($0, of: count)?.range(ofCosts: costs) }
      #expect(ranges.first?.lowerBound == 0 && ranges.last?.upperBound == costs.count, "seed 7")
      for (range, next) in zip(ranges, ranges.dropFirst()) { #expect(range.upperBound == next.lowerBound, "seed 7") }
      let share = Double(costs.reduce(0, +)) / Double(count)
      let largest = Double(costs.max() ?? 0)
      for range in ranges { #expect(Double(costs[range].reduce(0, +)) <= share + largest, "seed 7") }
    }
  }
}
