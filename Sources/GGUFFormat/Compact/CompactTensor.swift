public import ByteIO
public import Tensors

/// How the bytes of a tensor lie in a compact file.
public enum CompactEncoding: String, Sendable, Hashable, CaseIterable {
  /// As they are.
  case plain
  /// int8 codes from −8 to 7, two in a byte: of a row's elements 2i the low nibble, 2i + 1 the high one.
  case int4
  /// Planes of bytes in chunks, each plane of a chunk a zlib stream or as it is: lossless compression.
  case planes
}

/// One tensor of a compact file: what it is, and how its bytes are stored.
public struct CompactTensor: Sendable, Hashable {
  /// As readers see it: decoded.
  public let info: TensorInfo
  public let encoding: CompactEncoding

  /// - Throws: `ParseFailure` for an encoding that the type or shape cannot have, and for types without one.
  public init(_ info: TensorInfo, encoding: CompactEncoding = .plain) throws(ParseFailure) {
    self.info = info
    self.encoding = encoding
    switch encoding {
    case .plain:
      guard Self.storedType(of: info.elementType) != nil else {
        throw ParseFailure("a compact file has no type for \(info.elementType)", item: info.name)
      }
    case .int4:
      guard info.elementType == .i8, info.shape.rank > 0, info.shape.dimensions.last.map({ $0 % 2 == 0 }) == true else {
        throw ParseFailure(
          "int4 holds I8 codes in rows of even length, not \(info.elementType) \(info.shape)", item: info.name)
      }
    case .planes:
      guard Self.canBePlanes(info.elementType) else {
        throw ParseFailure("\(info.elementType) is not compressed", item: info.name)
      }
      // With its table it is still within the integers.
      guard info.byteCount <= Int.max / 2 else {
        throw ParseFailure("\(info.byteCount) bytes are too many", item: info.name)
      }
    }
  }

  /// Types whose numbers have exponents.
  public static func canBePlanes(_ type: ElementType) -> Bool { [.f8e4m3, .f16, .bf16, .f32].contains(type) }

  /// ggml's own type where there is one, else its integers of the same width; nil for types narrower than a byte.
  private static func storedType(of type: ElementType) -> ElementType? {
    if GGMLType.id(of: type) != nil { return type }
    switch type.bits {
    case 8: return .i8
    case 16: return .i16
    case 32: return .i32
    case 64: return .i64
    default: return nil
    }
  }

  /// The tensor as other readers of the file see it.
  /// - Parameter byteCount: that a compressed tensor takes.
  func stored(byteCount: Int) throws(ParseFailure) -> TensorInfo {
    switch encoding {
    case .plain:
      // GGUF's readers do not expect tensors without an extent.
      let shape = info.shape.rank == 0 ? Shape([1]) : info.shape
      return try TensorInfo(name: info.name, elementType: Self.storedType(of: info.elementType) ?? .i8, shape: shape)
    case .int4:
      var extents = info.shape.dimensions
      extents[extents.count - 1] /= 2
      return try TensorInfo(name: info.name, elementType: .i8, shape: Shape(extents))
    case .planes: return try TensorInfo(name: info.name, elementType: .i8, shape: [byteCount])
    }
  }

  /// Bytes that the stored tensor takes at most.
  public var maximumStoredByteCount: Int {
    switch encoding {
    case .plain: info.byteCount
    case .int4: info.byteCount / 2
    case .planes: CompactChunks(info).maximumByteCount
    }
  }
}

/// What a compact file says of a quantized weight. The texts are the caller's: bytes know no quantization.
public struct CompactQuantization: Sendable, Hashable {
  /// Name of the weight.
  public let weight: String
  /// Which code has which scale.
  public let scheme: String
  /// What serving does with the activations.
  public let activations: String
  /// Factor of the low-rank adapter beside the weight; 0 where there is none.
  public let adapterScale: Double
  /// The weight's input is rotated.
  public let isRotated: Bool

  public init(weight: String, scheme: String, activations: String, adapterScale: Double, isRotated: Bool) {
    self.weight = weight
    self.scheme = scheme
    self.activations = activations
    self.adapterScale = adapterScale
    self.isRotated = isRotated
  }
}
