/// The element types that the toolkit names, with the spelling of safetensors, and ggml's blocks.
public enum ElementType: Sendable, Hashable, CustomStringConvertible {
  case bool
  case f4
  case f6e2m3
  case f6e3m2
  case u8
  case i8
  case f8e5m2
  /// e4m3**fn**: no infinities, largest magnitude 448, NaN at 0x7F and 0xFF.
  case f8e4m3
  case f8e8m0
  case f8e4m3fnuz
  case f8e5m2fnuz
  case i16
  case u16
  case f16
  case bf16
  case i32
  case u32
  case f32
  case c64
  case f64
  case i64
  case u64
  /// Elements are stored in blocks that share scales: quantized GGUF tensors.
  case block(BlockType)

  /// Width of one element in bits. Traps for blocks, whose elements have no place of their own.
  public var bits: Int {
    switch self {
    case .f4: 4
    case .f6e2m3, .f6e3m2: 6
    case .bool, .u8, .i8, .f8e5m2, .f8e4m3, .f8e8m0, .f8e4m3fnuz, .f8e5m2fnuz: 8
    case .i16, .u16, .f16, .bf16: 16
    case .i32, .u32, .f32: 32
    case .c64, .f64, .i64, .u64: 64
    case .block(let type): preconditionFailure("\(type) has blocks, not elements of a width")
    }
  }

  /// Elements that are stored together, along the innermost extent, and the bytes that they take. Types narrower than a
  /// byte are packed over the whole tensor and have none.
  public var block: BlockType? { if case .block(let type) = self { type } else { nil } }

  /// Types whose values this toolkit computes with: they widen to binary32 without loss.
  public var isComputable: Bool {
    switch self {
    case .f32, .f16, .bf16, .f8e4m3: true
    default: false
    }
  }

  public var description: String { rawValue }
}

/// The types of safetensors, from narrow to wide as its library lists them; blocks are not among them.
extension ElementType: CaseIterable {
  private static let names: [(type: ElementType, name: String)] = [
    (.bool, "BOOL"),
    (.f4, "F4"),
    (.f6e2m3, "F6_E2M3"),
    (.f6e3m2, "F6_E3M2"),
    (.u8, "U8"),
    (.i8, "I8"),
    (.f8e5m2, "F8_E5M2"),
    (.f8e4m3, "F8_E4M3"),
    (.f8e8m0, "F8_E8M0"),
    (.f8e4m3fnuz, "F8_E4M3FNUZ"),
    (.f8e5m2fnuz, "F8_E5M2FNUZ"),
    (.i16, "I16"),
    (.u16, "U16"),
    (.f16, "F16"),
    (.bf16, "BF16"),
    (.i32, "I32"),
    (.u32, "U32"),
    (.f32, "F32"),
    (.c64, "C64"),
    (.f64, "F64"),
    (.i64, "I64"),
    (.u64, "U64"),
  ]

  public static let allCases: [ElementType] = names.map(\.type)

  /// The type that safetensors calls `rawValue`; never a block type.
  public init?(rawValue: String) {
    guard let known = Self.names.first(where: { $0.name == rawValue }) else { return nil }
    self = known.type
  }

  public var rawValue: String {
    if case .block(let type) = self { return type.rawValue }
    guard let known = Self.names.first(where: { $0.type == self }) else { preconditionFailure("every type has a name") }
    return known.name
  }
}
