internal import ByteIO
public import Checkpoints
internal import Foundation
internal import Inference
public import Kernels
internal import Llama
internal import Quantization
internal import Tokenizers

/// Does the gate see what it is there to see? Known faults of converters are planted in a model, one at a time, and each
/// faulty candidate is judged against the model as it is. The model against itself must come out exactly equal.
///
/// Candidates are made weight by weight while they are computed: nothing is written, memory is a layer's.
public struct SelfTest: Sendable {
  public var model: Checkpoint
  /// UTF-8 text; a built-in one when nil.
  public var textPath: String?
  /// What a candidate is held to: the drift that a fault must exceed to be seen as drift.
  public var policy: Policy
  /// Tokens of a window, the begin-of-text token included; at least 3.
  public var context: Int
  public var tokenLimit: Int?
  public var compute: Compute
  public var threads: Int
  public var maximumMemory: UInt64

  /// Windows of the built-in text are short so that there are many: errors are estimated from windows.
  public static let defaultContext = 128

  public init(
    model: Checkpoint, textPath: String? = nil, policy: Policy = .fp8, context: Int = defaultContext,
    tokenLimit: Int? = nil, compute: Compute = .exact, threads: Int, maximumMemory: UInt64 = 4 << 30
  ) {
    self.model = model
    self.textPath = textPath
    self.policy = policy
    self.context = context
    self.tokenLimit = tokenLimit
    self.compute = compute
    self.threads = threads
    self.maximumMemory = maximumMemory
  }

  /// - Throws: `ParseFailure` for a model without tokenizer or begin-of-text token and for what cannot be read,
  ///   `FileFailure`, `MemoryFailure`, what `check` throws.
  public func run(
    check: @escaping @Sendable () throws -> Void = {},
    progress: @escaping @Sendable (_ done: UInt64, _ of: UInt64) -> Void = { _, _ in }
  ) throws -> SelfTestResult {
    let started = ContinuousClock.now
    let weights = try CheckpointWeights(model, threads: threads)
    let windows = try windows()
    let faults = PlantedFault.all(in: model)
    let run = SelfTestRun(self, weights, windows, check: check)
    // The model and all candidates that read its windows go through the layers together; a shifted one has windows of its own.
    let together = faults.filter { $0.beginOfText == .once }
    let steps = (model: UInt64(model.configuration.layerCount + 1), all: UInt64(faults.count + 2))
    func report(_ first: Int, _ models: Int) -> @Sendable (UInt64, UInt64) -> Void {
      { done, of in
        progress(
          UInt64(first) * steps.model + UInt64(models) * steps.model * done / max(of, 1), steps.all * steps.model)
      }
    }
    var scorings = try run.score(together, progress: report(0, together.count + 2))
    let same = scorings.removeFirst()
    var scored = Dictionary(uniqueKeysWithValues: zip(together.map(\.name), scorings))
    scorings = []
    var findings: [SelfTestResult.Finding] = []
    var finished = together.count + 2
    for fault in faults {
      if let scoring = scored.removeValue(forKey: fault.name) {
        findings.append(try run.judge(fault, scoring))
      } else {
        findings.append(try run.judge(shifted: fault, same: same, progress: report(finished, 1)))
        finished += 1
      }
    }
    let elapsed = started.duration(to: .now)
    return SelfTestResult(
      path: model.path, text: textPath, policy: policy, context: context, tokens: same.baseNLL.count,
      windows: windows.windows.count,
      isExact: same.baseNLL == same.candidateNLL && same.divergence.allSatisfy { $0 == 0 }
        && same.layerDrift.allSatisfy { $0 == 0 },
      findings: findings,
      seconds: Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18)
  }

  private func windows() throws -> TokenWindows {
    guard let tokenizer = try model.tokenizer() else {
      throw ParseFailure(
        "there is no tokenizer", file: model.path, advice: "put tokenizer.json or tokenizer.model beside the weights")
    }
    let bytes = try textPath.map { try ReadableFile.contents(of: $0, limit: 1 << 30) } ?? Array(SelfTestText.all.utf8)
    let ids = tokenizer.encode(RepairedText(repairing: bytes).bytes)
    let begin = tokenizer.beginOfText ?? model.configuration.beginOfTextID.flatMap(Int32.init(exactly:))
    guard let begin else {
      throw ParseFailure("neither tokenizer nor config.json names a begin-of-text token", file: model.path)
    }
    let windows = TokenWindows(ids: ids, context: context, beginOfText: begin, limit: tokenLimit)
    guard windows.scoredCount > 1 else {
      throw ParseFailure("the text has no two tokens to score", file: textPath ?? "the built-in text")
    }
    return windows
  }
}
