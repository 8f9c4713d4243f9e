internal import ByteIO
public import Kernels
public import Tensors

extension ElementType {
  /// The kernels' name of the type; nil for types that the toolkit does not compute with.
  public var floatFormatIfComputable: FloatFormat? {
    switch self {
    case .f32: .f32
    case .f16: .f16
    case .bf16: .bf16
    case .f8e4m3: .e4m3
    case .i8: .i8
    default: nil
    }
  }

  /// The kernels' name of a computable type. Traps on others: check where the type comes from a file.
  public var floatFormat: FloatFormat {
    guard let format = floatFormatIfComputable else { preconditionFailure("\(self) is not computable") }
    return format
  }
}

extension BlockFormat {
  /// The kernels' name of a block type.
  public init(_ type: BlockType) {
    guard let format = BlockFormat(rawValue: type.rawValue) else { preconditionFailure("both list the same types") }
    self = format
  }
}
