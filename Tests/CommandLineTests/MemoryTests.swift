import Foundation
import Support
import Testing

/// A verification as a process of its own, whose memory is nobody else's.
@Suite("Memory and reading of llama-verify")
struct MemoryTests {
  /// Layers of 30 MB, of which a feed-forward block has 25, and a vocabulary that `tiny`'s tokenizer fits.
  private static func model(seed: UInt64) -> SyntheticModel {
    var model = SyntheticModel()
    (model.hidden, model.heads, model.keyValueHeads, model.headDimension) = (1024, 16, 4, 64)
    (model.feedForward, model.vocabulary, model.seed) = (4096, 16384, seed)
    return model
  }

  private struct Cost {
    let peak: Int
    let read: Int
    let passes: Int
    /// Named parts, without what the process held before.
    let planned: [String: Int]
    let held: Int
    /// All of the report but what the run cost.
    let rest: NSDictionary

    init(_ outcome: Outcome) throws {
      var report = try #require(outcome.json, "\(outcome.stderr)")
      let run = try #require(report["run"] as? [String: Any])
      report["run"] = nil
      rest = report as NSDictionary
      peak = try #require(run["peak_rss_bytes"] as? Int)
      read = try #require(run["bytes_read"] as? Int)
      passes = try #require(run["weight_passes"] as? Int)
      let parts = try #require(run["planned_memory"] as? [String: Int])
      held = try #require(parts["held_bytes"])
      planned = parts.filter { $0.key != "held_bytes" }
    }
  }

  @Test(
    "Peak memory is one layer and the hidden states, within the budget, whatever the budget; the report is the same")
  func budgets() throws {
    let base = try ModelFolder(Self.model(seed: 1))
    let candidate = try ModelFolder(Self.model(seed: 2))
    for folder in [base, candidate] {
      for name in ["tokenizer.json", "tokenizer_config.json"] {
        try FileManager.default.copyItem(at: Fixtures.bundled("tiny/\(name)"), to: folder.file(name))
      }
    }
    func verify(_ options: String...) throws -> Outcome {
      try run(
        .verify,
        [base.path, candidate.path, "--text", evaluationText, "--tokens", "1000", "--context", "128", "--json"]
          + options)
    }
    let all = try Cost(try verify("--threads", "2"))
    #expect(all.passes == 1)
    // One pass of everything, then budgets that leave less and less for tokens.
    let (tokens, weights) = (
      (all.planned["hidden_states_bytes"] ?? 0) + (all.planned["scratch_bytes"] ?? 0), all.planned["weights_bytes"] ?? 0
    )
    #expect(weights == 3 * 1024 * 4096 * 2)
    var costs = [(cost: all, budget: 4 << 30)]
    for share in [0.6, 0.35] {
      // 4 MiB more, because what a process holds is not the same each time.
      let budget = max(64 << 20, all.held + weights + (24 << 20) + Int(Double(tokens - (20 << 20)) * share))
      let cost = try Cost(try verify("--threads", "1", "--max-memory", "\(budget)"))
      costs.append((cost, budget))
    }
    #expect(costs[2].cost.passes > 1)
    let size = Self.model(seed: 1).byteCount
    let embedding = 16384 * 1024 * 2
    for (cost, budget) in costs {
      #expect(cost.peak <= budget, "\(cost.passes) passes")
      // The goal of the design: within a fifth.
      let expected = cost.held + cost.planned.values.reduce(0, +)
      #expect(cost.peak <= expected * 6 / 5, "\(cost.peak) and \(cost.planned) beside \(cost.held)")
      #expect(cost.rest == all.rest, "\(cost.passes) passes")
      // Each pass reads both models but for embedding rows that no token has; the digests read both once more.
      let least = 2 * size + cost.passes * 2 * (size - embedding)
      #expect((least...least + cost.passes * 2 * embedding + (8 << 20)).contains(cost.read), "\(cost.passes) passes")
    }
  }

  @Test("A budget that does not hold one window is refused, and says what would do")
  func refused() throws {
    let model = try ModelFolder(Self.model(seed: 1))
    try FileManager.default.copyItem(at: Fixtures.bundled("tiny/tokenizer.json"), to: model.file("tokenizer.json"))
    let outcome = try run(.verify, model.path, "--text", evaluationText, "--context", "2048", "--max-memory", "64MiB")
    #expect(outcome.status == 64 && outcome.stdout.isEmpty)
    #expect(outcome.stderr.contains("--max-memory"))
  }
}
