internal import Inference
public import Quantization
internal import Kernels

/// How weights are fitted to calibration text. All but threads and cancellation decides the bytes.
public struct CalibrationSettings: Sendable {
  /// Grid, method and layout of the codes.
  public var quantizer: IntegerQuantizer
  /// What is added to the Gram matrix's diagonal, in units of its mean.
  public var damping: Double
  /// In which order columns are rounded.
  public var order: ErrorFeedback.ColumnOrder
  public var threads: Int
  /// The process's resident memory must stay below so many bytes.
  public var maximumMemory: UInt64
  /// Asked at safe points; throws to stop.
  public var checkCancellation: @Sendable () throws -> Void

  public static let defaultDamping = 0.01

  public init(
    quantizer: IntegerQuantizer, damping: Double = defaultDamping,
    order: ErrorFeedback.ColumnOrder = .descendingDiagonal, threads: Int, maximumMemory: UInt64 = .max,
    checkCancellation: @escaping @Sendable () throws -> Void = {}
  ) {
    self.quantizer = quantizer
    self.damping = damping
    self.order = order
    self.threads = threads
    self.maximumMemory = maximumMemory
    self.checkCancellation = checkCancellation
  }

  /// Tokens carried through a layer together. A constant: Gram matrices are summed in these pieces.
  static let tokensPerChunk = 2048

  /// Products in binary32 on any processor, which are the same to the bit: calibrated codes do not depend on the machine.
  var forward: ForwardSettings { Self.forward(threads: threads, checkCancellation: checkCancellation) }

  static func forward(
    threads: Int, checkCancellation: @escaping @Sendable () throws -> Void
  ) -> ForwardSettings {
    let sets = InstructionSet.available.filter(\.multipliesInFloat32)
    return ForwardSettings(
      threads: threads, instructionSet: sets.max() ?? .scalar, tokensPerChunk: tokensPerChunk,
      checkCancellation: checkCancellation)
  }
}
