internal import ByteIO
public import Checkpoints
internal import Inference

extension VerificationRequest {
  /// Runs the base over the windows of the text and sums up how strongly each column of each matrix is driven.
  /// - Returns: the matrix, and how many tokens it is of.
  /// - Throws: `ParseFailure` for a model, tokenizer or text that cannot be used; `FileFailure`; `MemoryFailure`; what
  ///   `checkCancellation` throws.
  public func importanceMatrix(
    checkCancellation: @escaping @Sendable () throws -> Void = {}, progress: @escaping Progress = { _, _, _ in }
  ) throws -> (matrix: ImportanceMatrix, tokens: Int) {
    let text = try EvaluationText(self)
    let weights = try CheckpointWeights(base, emulatingActivations: emulation != nil, threads: threads)
    let windows = text.windows.windows
    let plan = try ForwardPlan(
      [weights], settings: forwardSettings(checkCancellation), windows: windows,
      maximumMemory: maximumMemory)
    var moments = ActivationMoments()
    for (index, group) in plan.groups.enumerated() {
      try moments.add(Array(windows[group]), through: weights, settings: plan.settings) { done, of in
        progress("forward", UInt64(index * of + done), UInt64(plan.groups.count * of))
      }
    }
    let matrix = ImportanceMatrix(
      moments.sums, tokens: moments.tokens, dataset: FileSystem.lastComponent(of: textPath), chunkCount: windows.count,
      chunkSize: context)
    return (matrix, moments.tokens)
  }
}
