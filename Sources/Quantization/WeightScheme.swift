public import ByteIO
public import Kernels
public import Tensors

/// How the codes of a stored weight `[out, in]` become values: which scale multiplies which code.
public enum WeightScheme: Sendable, Hashable, CustomStringConvertible {
  /// One scale per row (output channel).
  case rowWise
  /// One scale for the whole tensor.
  case perTensor
  /// One scale per block of so many rows and columns; blocks at the edges may be partial.
  case block(rows: Int, columns: Int)

  public var isRowWise: Bool { self == .rowWise }

  /// Every row has scales of its own: rows and scales are reordered together.
  public var hasRowsOfScales: Bool {
    switch self {
    case .rowWise: true
    case .perTensor: false
    case .block(let rows, _): rows == 1
    }
  }

  /// The scheme in words that no format owns, as digests and reports use it.
  public var canonicalText: String {
    switch self {
    case .rowWise: "row"
    case .perTensor: "tensor"
    case .block(let rows, let columns): "block \(rows)x\(columns)"
    }
  }

  public var description: String { canonicalText }

  private static func ceiling(_ count: Int, _ size: Int) -> Int { count / size + (count % size == 0 ? 0 : 1) }

  /// Scales that a weight of this size has.
  public func scaleCount(rows: Int, columns: Int) -> Int {
    switch self {
    case .rowWise: rows
    case .perTensor: 1
    case .block(let height, let width): Self.ceiling(rows, height) * Self.ceiling(columns, width)
    }
  }

  /// Shapes in which the scales of a weight of this size are stored; the first is what we write.
  public func acceptedScaleShapes(rows: Int, columns: Int) -> [Shape] {
    switch self {
    case .rowWise: [[rows, 1], [rows]]
    case .perTensor: [[1], []]
    case .block(let height, let width): [[Self.ceiling(rows, height), Self.ceiling(columns, width)]]
    }
  }

  /// The stored scales as numbers.
  /// - Throws: `ParseFailure` for a type that is no BF16, F16 or F32, and for a scale that is zero, negative, NaN or
  ///   infinite, with its index.
  public static func scales(from bytes: [UInt8], type: ElementType) throws(ParseFailure) -> [Float] {
    guard let format = type.floatFormatIfComputable, !format.isCode else {
      throw ParseFailure("the scales are \(type), expected BF16, F16 or F32")
    }
    guard bytes.count % format.byteCount == 0 else {
      throw ParseFailure("\(bytes.count) bytes are no whole number of scales in \(type)")
    }
    let values = NumberFormat.widened(bytes.span.rawBytes, from: format)
    if let index = values.firstIndex(where: { !($0 > 0 && $0.isFinite) }) {
      throw ParseFailure(
        "scale \(index) is \(values[index]); scales are positive and finite",
        advice: "the file is damaged or its quantizer was; start again from the original weights")
    }
    return values
  }

  /// Which rows of the stored scales, a matrix of one column where the scheme is no block, multiply the codes of `rows`.
  public func scaleRows(for rows: Range<Int>) -> Range<Int> {
    switch self {
    case .rowWise: rows
    case .perTensor: 0..<1
    case .block(let height, _): rows.lowerBound / height..<Self.ceiling(rows.upperBound, height)
    }
  }

  /// Multiplies the codes of `rows` by their scales, rounding each product once to binary32. e4m3 NaN stays NaN.
  /// - Parameters:
  ///   - codes: codes of the rows of `rows`, one byte each.
  ///   - format: of the codes, e4m3 or int8.
  ///   - columns: elements of a row.
  ///   - scales: those of `scaleRows(for: rows)`.
  ///   - values: takes one value per code.
  public func dequantize(
    codes: RawSpan, format: FloatFormat, rows: Range<Int>, columns: Int, scales: Span<Float>,
    into values: inout MutableSpan<Float>
  ) {
    precondition(codes.byteCount == rows.count * columns && values.count == codes.byteCount, "whole rows")
    if values.isEmpty { return }
    switch self {
    case .rowWise:
      CodeRows.dequantize(codes, format: format, columns: columns, scales: scales, into: &values)
    case .perTensor:
      CodeRows.dequantizeBlocks(
        codes, format: format, firstRow: 0, columns: columns, blockRows: .max, blockColumns: columns, scales: scales,
        into: &values)
    case .block(let height, let width):
      CodeRows.dequantizeBlocks(
        codes, format: format, firstRow: rows.lowerBound % height, columns: columns, blockRows: height,
        blockColumns: width, scales: scales, into: &values)
    }
  }
}

/// What serving does with the activations that a quantized weight multiplies.
public enum ActivationScheme: Sendable, Hashable {
  /// They stay as they are.
  case none
  /// e4m3 with one scale per token, found as it comes: max(min(A, upperBound)/448, 1/(448·512)).
  case dynamicPerToken(upperBound: Float?)
  /// e4m3 with one scale per token and group of so many values, found as it comes.
  case dynamicPerGroup(Int)
  /// e4m3 with one stored scale.
  case staticPerTensor
  /// int8 with one scale per token, found as it comes: A/127.5. compressed-tensors' W8A8.
  case dynamicSymmetricInt8PerToken
  /// int8 with one scale and zero point per token, found as they come: Meta's int4 models.
  case dynamicInt8PerToken
}
