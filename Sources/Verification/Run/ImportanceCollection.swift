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
    let chunk = 2048
    let settings = ForwardSettings(
      threads: threads, compute: compute, tokensPerChunk: chunk, checkCancellation: checkCancellation)
    let weights = try CheckpointWeights(base)
    let windows = text.windows.windows
    let groups = try windowGroups(windows, tokensPerChunk: chunk)
    var moments = ActivationMoments()
    for (index, group) in groups.enumerated() {
      try moments.add(group, through: weights, settings: settings) { done, of in
        progress("forward", UInt64(index * of + done), UInt64(groups.count * of))
      }
    }
    let matrix = ImportanceMatrix(
      moments.sums, tokens: moments.tokens, dataset: FileSystem.lastComponent(of: textPath), chunkCount: windows.count,
      chunkSize: context)
    return (matrix, moments.tokens)
  }
}
