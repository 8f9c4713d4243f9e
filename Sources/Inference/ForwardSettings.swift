public import Kernels

/// How a forward pass is computed. Only `compute`, the emulation and, between float32 and the tiles of AMX, the instruction
/// set change a result.
public struct ForwardSettings: Sendable {
  public var threads: Int
  /// Of what is not a matrix product.
  public var instructionSet: InstructionSet
  /// Of matrix products and attention.
  public var kernel: ProductKernel
  /// Round activations as each matrix says.
  public var emulatesActivations: Bool
  /// Tokens carried through a layer together; whole windows, at least one.
  public var tokensPerChunk: Int
  /// Asked at safe points; throws to stop.
  public var checkCancellation: @Sendable () throws -> Void

  public init(
    threads: Int, instructionSet: InstructionSet = .best, compute: Compute = .exact, emulatesActivations: Bool = false,
    tokensPerChunk: Int = 2048, checkCancellation: @escaping @Sendable () throws -> Void = {}
  ) {
    precondition(threads >= 1 && tokensPerChunk >= 1, "at least one thread and one token")
    self.threads = threads
    self.instructionSet = instructionSet
    kernel = ProductKernel(instructionSet, compute: compute)
    self.emulatesActivations = emulatesActivations
    self.tokensPerChunk = tokensPerChunk
    self.checkCancellation = checkCancellation
  }
}
