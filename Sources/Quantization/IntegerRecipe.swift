internal import Kernels
public import Tensors

/// How the weights of Meta's int4 checkpoints (Llama 3.2 1B and 3B) are rounded to integers, as torchao does it: symmetric,
/// F32 scales, codes one in a byte. The arithmetic is exact to the bit: `formats/tensor-parallel.md`.
public enum IntegerRecipe: Sendable, Hashable, CustomStringConvertible {
  /// Linears of the layers: codes −8 … 7, a scale for each group of so many elements of a row.
  case int4Groups(Int)
  /// Embedding and head: codes −128 … 127, a scale for each row.
  case int8Rows

  /// Elements that share a scale in Meta's published files.
  public static let metaGroupSize = 32
  public static let scaleType = ElementType.f32

  public var description: String {
    switch self {
    case .int4Groups(let size): "int4 in groups of \(size)"
    case .int8Rows: "int8 rows"
    }
  }

  public var scheme: WeightScheme {
    switch self {
    case .int4Groups(let size): .block(rows: 1, columns: size)
    case .int8Rows: .rowWise
    }
  }

  /// Scales of a weight, `[rows, groups in a row]`.
  public func scaleShape(rows: Int, columns: Int) -> Shape { [rows, columns / groupSize(columns)] }

  /// Elements that share a scale; `columns` is a multiple of it.
  public func groupSize(_ columns: Int) -> Int {
    switch self {
    case .int4Groups(let size): size
    case .int8Rows: columns
    }
  }

  /// A group of zeros gets the epsilon of binary32, torchao's least scale.
  private var arithmetic: IntegerGroups.Arithmetic {
    switch self {
    case .int4Groups: .init(codes: -8...7, divisor: 7.5, leastScale: 0x1p-23)
    case .int8Rows: .init(codes: -128...127, divisor: 127, leastScale: 0x1p-23)
    }
  }

  /// Quantizes whole rows of finite values.
  /// - Parameters:
  ///   - columns: elements of a row.
  ///   - codes: takes one byte per element.
  ///   - scales: takes F32 scales, little-endian, row by row.
  public func quantize(
    _ values: Span<Float>, columns: Int, codes: inout MutableSpan<UInt8>, scales: inout MutableSpan<UInt8>
  ) -> QuantizationStatistics {
    let size = groupSize(columns)
    var factors = [Float](repeating: 0, count: values.count / size)
    var span = factors.mutableSpan
    var measures = IntegerGroups.Measures()
    IntegerGroups.quantize(
      values, size: size, arithmetic: arithmetic, codes: &codes, scales: &span, measures: &measures)
    let overflow = NumberFormat.narrow(factors.span, to: .f32, into: &scales)
    precondition(overflow == nil, "binary32 holds binary32")
    var rounding = GroupCodes.Measures()
    for group in factors.indices {
      let part = group * size..<(group + 1) * size
      GroupCodes.measure(
        values.extracting(part), codes: codes.span.extracting(part), .init(scale: factors[group]),
        codes: arithmetic.codes, addingTo: &rounding)
    }
    return QuantizationStatistics(
      rows: values.count / columns, saturated: rounding.saturated, signalEnergy: measures.signalEnergy,
      errorEnergy: measures.errorEnergy, elements: values.count, largestError: rounding.largestError)
  }

  /// The index of the first value that is further than half a step from its code, nil when there is none: the bound of any
  /// correct rounding, the last factor for rounding the quotient and, of
  /// codes up to 128, the product.
  public func firstViolation(
    _ values: Span<Float>, columns: Int, codes: Span<UInt8>, scales: [Float]
  ) -> Int? {
    let size = groupSize(columns)
    for index in values.indices {
      let scale = scales[index / size]
      let off = abs(values[index] - Float(Int8(bitPattern: codes[index])) * scale)
      if !(off <= scale * 0.5 * (1 + 0x1p-14)) { return index }
    }
    return nil
  }
}
