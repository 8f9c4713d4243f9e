public import ByteIO
public import Checkpoints
internal import Kernels
internal import Llama
internal import Quantization
internal import Tensors

/// Reads back what was written, with the same reader that opens anybody's checkpoint, and proves it: exact copies by
/// digests that do not depend on the layout, conversions and quantized tensors value by value against the source within
/// the rounding bound of their type.
public struct SelfCheck: Sendable {
  /// Of the output as it was read back.
  public let output: Checkpoint
  public let digest: ModelDigest
  /// Tensors whose equality with the input was proven by digest.
  public let provenEqual: Int
  /// Tensors checked value by value.
  public let checkedValues: Int

  /// - Throws: `ConversionFailure` of kind `.selfCheck` naming the tensor when something is not as it should be.
  public init(
    _ run: ConversionRun, interruption: Interruption = Interruption(),
    progress: @escaping ConversionRun.Progress = { _, _ in }
  ) throws {
    let plan = run.plan
    let output = try Checkpoint(path: run.staging.path)
    guard output.tensors.map(\.role) == plan.steps.map(\.input.role) else {
      throw ConversionFailure(.selfCheck, "\(run.staging.path): the output does not hold the planned tensors")
    }
    let counter = ByteCounter(total: plan.outputByteCount + plan.inputByteCount, progress: progress)
    let count: @Sendable (Int) throws -> Void = { bytes in
      try interruption.check()
      counter.add(bytes)
    }
    let digest = try output.digest(threads: plan.options.threads, progress: count)
    try Parallel.forEach(count: plan.steps.count, threads: plan.options.threads) { index in
      let step = plan.steps[index]
      if step.operation.isExact {
        let before = try step.input.digest(progress: count)
        guard before == digest.tensors[index].digest else {
          throw ConversionFailure(
            .selfCheck,
            "\(step.weight.name): what was written differs from the input; the disk or this program is at fault")
        }
      } else {
        try ValueCheck.run(step, written: output.tensors[index], progress: count)
      }
    }
    self.output = output
    self.digest = digest
    provenEqual = plan.steps.filter { $0.operation.isExact }.count
    checkedValues = plan.steps.count - provenEqual
  }
}
