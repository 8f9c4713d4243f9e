internal import ByteIO
internal import Kernels
public import Tensors

/// The tensors in which a layout stores the integer codes of a linear module, and where in them the rows of the weight are.
///
/// Canonical are codes int8 `[out, in]`, scales `[out, groups]` and zero points int8 `[out, groups]`, both sides of
/// `write` and `read`; value = (code − zeroPoint) · scale.
public struct PackedWeight: Sendable, Hashable {
  public let layout: IntegerLayout
  public let bits: Int
  /// Outputs.
  public let rows: Int
  /// Inputs.
  public let columns: Int
  public let groupCount: Int
  /// Zero points other than 0 are stored.
  public let hasZeroPoints: Bool
  /// Groups are not runs of columns: a list says each column's group.
  public let hasGroupIndex: Bool

  public init(
    layout: IntegerLayout, bits: Int, rows: Int, columns: Int, groupCount: Int, hasZeroPoints: Bool,
    hasGroupIndex: Bool
  ) {
    precondition(bits == 4 || bits == 8, "codes of 4 or 8 bits")
    self.layout = layout
    self.bits = bits
    self.rows = rows
    self.columns = columns
    self.groupCount = groupCount
    self.hasZeroPoints = hasZeroPoints
    self.hasGroupIndex = hasGroupIndex
  }

  /// What the canonical tensors of a module are called behind its name.
  public enum Part: String, Sendable, CaseIterable {
    case codes = "weight"
    case scales = "weight_scale"
    case zeroPoints = "weight_zero_point"
  }

  /// A tensor as it is stored.
  public struct Stored: Sendable, Hashable {
    /// Behind the module's name.
    public let suffix: String
    public let elementType: ElementType
    public let shape: Shape
  }

  private var perWord: Int { 32 / bits }

  private func words(_ count: Int) -> Int { (count + perWord - 1) / perWord }

  /// Why the layout cannot hold a weight of this size; nil when it can.
  public var obstacle: String? {
    switch layout {
    case .compressedTensors: return nil
    case .gptq, .gptqV2:
      guard columns % perWord == 0, rows % perWord == 0 else {
        return
          "GPTQ packs \(perWord) inputs, and \(perWord) outputs of zero points, in a word; it is [\(rows), \(columns)]"
      }
      return nil
    case .awq:
      guard bits == 4 else { return "AWQ has codes of 4 bits" }
      guard rows % perWord == 0 else { return "AWQ packs \(perWord) outputs in a word; it has \(rows)" }
      return hasGroupIndex ? "AWQ's groups are runs of inputs, and g_idx lists others" : nil
    }
  }

  /// Where a part is stored; nil where the layout leaves it out.
  public func stored(_ part: Part, scaleType: ElementType = .f16) -> Stored? {
    switch (layout, part) {
    case (.compressedTensors, .codes):
      Stored(suffix: "weight_packed", elementType: .i32, shape: [rows, words(columns)])
    case (.compressedTensors, .scales):
      Stored(suffix: "weight_scale", elementType: scaleType, shape: [rows, groupCount])
    case (.compressedTensors, .zeroPoints):
      hasZeroPoints
        ? Stored(suffix: "weight_zero_point", elementType: .i32, shape: [words(rows), groupCount]) : nil
    case (.gptq, .codes), (.gptqV2, .codes):
      Stored(suffix: "qweight", elementType: .i32, shape: [words(columns), rows])
    case (.awq, .codes): Stored(suffix: "qweight", elementType: .i32, shape: [columns, words(rows)])
    case (_, .scales): Stored(suffix: "scales", elementType: scaleType, shape: [groupCount, rows])
    case (_, .zeroPoints): Stored(suffix: "qzeros", elementType: .i32, shape: [groupCount, words(rows)])
    }
  }

  /// The list of each column's group; nil where the layout has none.
  public var storedGroupIndex: Stored? {
    switch layout {
    case .compressedTensors:
      hasGroupIndex ? Stored(suffix: "weight_g_idx", elementType: .i32, shape: [columns]) : nil
    case .gptq, .gptqV2: Stored(suffix: "g_idx", elementType: .i32, shape: [columns])
    case .awq: nil
    }
  }

  /// Sizes of the weight, which words do not tell; nil where the layout has none.
  public var storedShape: Stored? {
    layout == .compressedTensors ? Stored(suffix: "weight_shape", elementType: .i64, shape: [2]) : nil
  }

  /// All tensors of a module.
  public func storedTensors(scaleType: ElementType) -> [Stored] {
    Part.allCases.compactMap { stored($0, scaleType: scaleType) } + [storedShape, storedGroupIndex].compactMap { $0 }
  }

  /// Rows are read and written in multiples of so many, but for the last ones.
  public func rowAlignment(_ part: Part) -> Int {
    switch (layout, part) {
    case (.awq, .codes), (_, .zeroPoints): perWord
    default: 1
    }
  }

  // MARK: Canonical and stored bytes

  /// Writes at a byte of the stored tensor with a suffix.
  public typealias Put = (_ suffix: String, _ offset: Int, _ bytes: Span<UInt8>) throws -> Void
  /// Reads from a byte of the stored tensor with a suffix.
  public typealias Get = (_ suffix: String, _ offset: Int, _ bytes: inout MutableSpan<UInt8>) throws -> Void

  /// Stores canonical rows.
  /// - Parameters:
  ///   - range: begins at a multiple of `rowAlignment`.
  ///   - bytes: of all rows of `range`: codes, scales in `scaleType`, or zero points.
  /// - Throws: what `put` throws.
  public func write(
    _ part: Part, rows range: Range<Int>, _ bytes: Span<UInt8>, scaleType: ElementType, _ put: Put
  ) throws {
    guard let stored = stored(part, scaleType: scaleType), !range.isEmpty else { return }
    precondition(range.lowerBound % rowAlignment(part) == 0, "words are written whole")
    switch placement(of: part) {
    case .plain: try put(stored.suffix, range.lowerBound * bytes.count / range.count, bytes)
    case .wordsOfRow:
      let words = [UInt8](count: range.count * self.words(columns) * 4) {
        IntegerPacking.packRows(bytes, columns: columns, bits: bits, into: &$0)
      }
      try put(stored.suffix, range.lowerBound * self.words(columns) * 4, words.span)
    case .wordsOfRowTransposed:
      let words = [UInt8](count: range.count * self.words(columns) * 4) {
        IntegerPacking.packRows(bytes, columns: columns, bits: bits, into: &$0)
      }
      try putTransposed(words.span, rows: range, of: rows, width: self.words(columns), size: 4, stored.suffix, put)
    case .halvesTransposed:
      try putTransposed(bytes, rows: range, of: rows, width: groupCount, size: 2, stored.suffix, put)
    case .wordsOfColumns(let width, let order, let bias, let transposes):
      let high = self.words(range.count)
      let words = [UInt8](count: high * width * 4) {
        IntegerPacking.packColumns(bytes, columns: width, bits: bits, order: order, bias: bias, into: &$0)
      }
      let first = range.lowerBound / perWord
      guard transposes else { return try put(stored.suffix, first * width * 4, words.span) }
      try putTransposed(
        words.span, rows: first..<first + high, of: self.words(rows), width: width, size: 4, stored.suffix, put)
    }
  }

  /// The inverse of `write`.
  public func read(
    _ part: Part, rows range: Range<Int>, into bytes: inout MutableSpan<UInt8>, scaleType: ElementType, _ get: Get
  ) throws {
    guard let stored = stored(part, scaleType: scaleType), !range.isEmpty else { return }
    switch placement(of: part) {
    case .plain: try get(stored.suffix, range.lowerBound * bytes.count / range.count, &bytes)
    case .wordsOfRow:
      let words = try [UInt8](count: range.count * self.words(columns) * 4) {
        try get(stored.suffix, range.lowerBound * self.words(columns) * 4, &$0)
      }
      IntegerPacking.unpackRows(words.span, columns: columns, bits: bits, into: &bytes)
    case .wordsOfRowTransposed:
      let words = try getTransposed(
        rows: range, of: rows, width: words(columns), size: 4, stored.suffix, get)
      IntegerPacking.unpackRows(words.span, columns: columns, bits: bits, into: &bytes)
    case .halvesTransposed:
      let halves = try getTransposed(rows: range, of: rows, width: groupCount, size: 2, stored.suffix, get)
      bytes.copy(from: halves.span)
    case .wordsOfColumns(let width, let order, let bias, let transposes):
      // Rows may begin within a word: it is read whole.
      let first = range.lowerBound / perWord
      let wordRange = first..<self.words(range.upperBound)
      let words =
        transposes
        ? try getTransposed(rows: wordRange, of: self.words(rows), width: width, size: 4, stored.suffix, get)
        : try [UInt8](count: wordRange.count * width * 4) { try get(stored.suffix, first * width * 4, &$0) }
      let skipped = range.lowerBound - first * perWord
      if skipped == 0 {
        IntegerPacking.unpackColumns(
          words.span, rows: range.count, columns: width, bits: bits, order: order, bias: bias, into: &bytes)
      } else {
        let all = skipped + range.count
        let codes = [UInt8](count: all * width) {
          IntegerPacking.unpackColumns(
            words.span, rows: all, columns: width, bits: bits, order: order, bias: bias, into: &$0)
        }
        bytes.copy(from: codes.span.extracting(skipped * width..<all * width))
      }
    }
  }

  /// How canonical rows become stored bytes.
  private enum Placement {
    case plain
    case wordsOfRow
    case wordsOfRowTransposed
    case halvesTransposed
    /// Words hold one column of several rows.
    case wordsOfColumns(width: Int, order: IntegerPacking.FieldOrder, bias: Int, transposes: Bool)
  }

  private func placement(of part: Part) -> Placement {
    let half = 1 << (bits - 1)
    switch (layout, part) {
    case (.compressedTensors, .codes): return .wordsOfRow
    case (.compressedTensors, .scales): return .plain
    case (.compressedTensors, .zeroPoints):
      return .wordsOfColumns(width: groupCount, order: .natural, bias: half, transposes: false)
    case (_, .scales): return .halvesTransposed
    case (.awq, .codes): return .wordsOfColumns(width: columns, order: .awq, bias: half, transposes: true)
    case (.awq, .zeroPoints): return .wordsOfColumns(width: groupCount, order: .awq, bias: half, transposes: true)
    case (_, .codes): return .wordsOfRowTransposed
    // Zero points less one, since AutoGPTQ's first kernels added it; v2 keeps them.
    case (.gptq, .zeroPoints):
      return .wordsOfColumns(width: groupCount, order: .natural, bias: half - 1, transposes: true)
    case (_, .zeroPoints): return .wordsOfColumns(width: groupCount, order: .natural, bias: half, transposes: true)
    }
  }

  /// Rows of a matrix `[height, width]` whose transpose is stored: a stretch of each stored row.
  private func putTransposed(
    _ elements: Span<UInt8>, rows range: Range<Int>, of height: Int, width: Int, size: Int, _ suffix: String, _ put: Put
  ) throws {
    let length = range.count * size
    let turned = [UInt8](count: elements.count) {
      IntegerPacking.transpose(elements, rows: range.count, columns: width, size: size, into: &$0)
    }
    for column in 0..<width {
      try put(
        suffix, (column * height + range.lowerBound) * size,
        turned.span.extracting(column * length..<(column + 1) * length))
    }
  }

  private func getTransposed(
    rows range: Range<Int>, of height: Int, width: Int, size: Int, _ suffix: String, _ get: Get
  ) throws -> [UInt8] {
    let length = range.count * size
    let turned = try [UInt8](count: width * length) { bytes in
      for column in 0..<width {
        var part = bytes.part(column * length..<(column + 1) * length)
        try get(suffix, (column * height + range.lowerBound) * size, &part)
      }
    }
    return [UInt8](count: turned.count) {
      IntegerPacking.transpose(turned.span, rows: width, columns: range.count, size: size, into: &$0)
    }
  }
}
