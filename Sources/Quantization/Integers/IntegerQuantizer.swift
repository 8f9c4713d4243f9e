public import ByteIO
public import Kernels
public import Tensors

/// Rounds rows of a weight `[out, in]` to integer codes, row by row without a look at other rows.
public struct IntegerQuantizer: Sendable, Hashable, CustomStringConvertible {
  public let grid: IntegerGrid
  public let method: IntegerMethod
  /// The layout it is for, where that has wishes; nil where codes are stored one in a byte.
  public let layout: IntegerLayout?
  /// Groups are made of inputs that text drives alike, not of neighbours: a list says each input's group.
  public let groupsByActivation: Bool
  /// SmoothQuant's α: inputs that norms make are evened out before weights are rounded; nil for none.
  public let smoothing: Float?

  public init(
    grid: IntegerGrid, method: IntegerMethod, layout: IntegerLayout?, groupsByActivation: Bool = false,
    smoothing: Float? = nil
  ) {
    self.smoothing = smoothing
    self.groupsByActivation = groupsByActivation
    self.grid = grid
    self.method = method
    self.layout = layout
  }

  public var description: String {
    "\(grid), \(method.rawValue)\(groupsByActivation ? ", groups by activation" : "")"
      + (smoothing.map { ", smoothed by \($0)" } ?? "")
  }

  /// Weights are fitted to text layer by layer, before codes are written; else rows are rounded as they pass.
  public var isFitted: Bool { smoothing != nil || method.isCalibrated && method != .imse }
  /// Norms may take over factors of channels.
  public var scalesChannels: Bool { smoothing != nil || method.scalesChannels }

  /// What serving does with the activations: int8 weights that lie one in a byte come with int8 activations.
  public var activations: ActivationScheme { layout == nil && grid.bits == 8 ? .dynamicSymmetricInt8PerToken : .none }

  /// Rounding to nearest keeps the weights' own type, as the library does; the others' scales are numbers that BF16 holds.
  public func scaleType(forWeight type: ElementType) -> ElementType {
    if layout?.storesF16Scales == true || type == .f16 { return .f16 }
    return method == .rtn && type == .f32 ? .f32 : .bf16
  }

  /// The search for scales; of calibrated methods the one that comes before them.
  public func search(forWeight type: ElementType) -> GroupSearch {
    GroupSearch(
      grid, rule: method == .hqq ? .halfQuadratic : .leastSquares, fitsF16: scaleType(forWeight: type) == .f16,
      avoidsLowestZeroPoint: layout == .gptq)
  }

  /// Scales and zero points of whole rows, on which methods that feed errors forward build.
  /// - Parameters:
  ///   - values: `[rows, columns]`, finite.
  ///   - weights: one per column, ≥ 0; empty for all alike.
  /// - Returns: both `[rows, groups]`.
  public func parameters(
    _ values: Span<Float>, columns: Int, weightType: ElementType, weights: [Float]
  ) -> (scales: [Float], zeroPoints: [Int8]) {
    let size = grid.groupSize(columns: columns)
    let search = search(forWeight: weightType)
    var scratch = GroupSearch.Scratch()
    var scales: [Float] = []
    var zeroPoints: [Int8] = []
    for start in stride(from: 0, to: values.count, by: size) {
      let column = start % columns
      let found = search.parameters(
        values.extracting(start..<start + size), weights: Self.part(of: weights, column..<column + size).span,
        scratch: &scratch)
      scales.append(found.scale)
      zeroPoints.append(Int8(found.zeroPoint))
    }
    return (scales, zeroPoints)
  }

  private static func part(of weights: [Float], _ range: Range<Int>) -> [Float] {
    weights.isEmpty ? [] : Array(weights[range])
  }

  /// What quantizing rows takes besides the values.
  public struct Scratch: Sendable {
    fileprivate var search = GroupSearch.Scratch()
    fileprivate var scales: [Float] = []
    public init() {}
  }

  /// Quantizes whole rows of finite values, `columns` a whole number of groups.
  /// - Parameters:
  ///   - weightType: of the stored weight; rounding to nearest computes in it.
  ///   - weights: one per column for the search; empty for all alike.
  ///   - codes: takes one int8 per element.
  ///   - scales: takes one scale per group in `scaleType(forWeight:)`, little-endian.
  ///   - zeroPoints: takes one int8 per group.
  /// - Throws: `ParseFailure` for a scale that its type does not hold.
  public func quantize(
    _ values: Span<Float>, columns: Int, weightType: ElementType, weights: [Float],
    codes: inout MutableSpan<UInt8>, scales: inout MutableSpan<UInt8>, zeroPoints: inout MutableSpan<UInt8>,
    scratch: inout Scratch, instructionSet: InstructionSet = .best
  ) throws(ParseFailure) -> QuantizationStatistics {
    let size = grid.groupSize(columns: columns)
    let count = values.count / size
    precondition(columns % size == 0 && values.count % columns == 0, "whole groups and rows")
    precondition(codes.count == values.count && zeroPoints.count == count, "room for all codes and zero points")
    let search = search(forWeight: weightType)
    let scaleType = scaleType(forWeight: weightType)
    scratch.scales.removeAll(keepingCapacity: true)
    var measures = GroupCodes.Measures()
    var zeroRows = 0
    for row in 0..<values.count / columns {
      var isZero = true
      for group in 0..<columns / size {
        let start = row * columns + group * size
        let part = values.extracting(start..<start + size)
        var target = codes.part(start..<start + size)
        let found: GroupCodes.Parameters
        if method == .rtn {
          found = rounded(part, weightType: weightType, into: &target)
        } else {
          found = search.parameters(
            part, weights: Self.part(of: weights, group * size..<(group + 1) * size).span, scratch: &scratch.search,
            instructionSet: instructionSet)
          GroupCodes.quantize(part, found, codes: grid.codes, into: &target, instructionSet: instructionSet)
        }
        let before = measures.signalEnergy
        GroupCodes.measure(part, codes: target.span, found, codes: grid.codes, addingTo: &measures)
        if measures.signalEnergy > before || part.indices.contains(where: { part[$0] != 0 }) { isZero = false }
        zeroPoints[row * (columns / size) + group] = UInt8(bitPattern: Int8(found.zeroPoint))
        scratch.scales.append(found.scale)
      }
      if isZero { zeroRows += 1 }
    }
    if NumberFormat.narrow(scratch.scales.span, to: scaleType.floatFormat, into: &scales) != nil {
      throw ParseFailure(
        "a scale passes the range of \(scaleType)", advice: "use a layout with BF16 scales (compressed-tensors)")
    }
    return QuantizationStatistics(
      rows: values.count / columns, zeroRows: zeroRows, saturated: measures.saturated,
      signalEnergy: measures.signalEnergy, errorEnergy: measures.errorEnergy, elements: values.count,
      largestError: measures.largestError)
  }

  /// A group rounded to nearest. Where scales are stored in F16, those of BF16 weights are the library's all the same, so
  /// that codes do not depend on the layout; only one that F16 does not hold is found anew in it.
  private func rounded(
    _ values: Span<Float>, weightType: ElementType, into codes: inout MutableSpan<UInt8>
  ) -> GroupCodes.Parameters {
    func library(_ format: FloatFormat, _ codes: inout MutableSpan<UInt8>) -> GroupCodes.Parameters {
      GroupCodes.library(
        values, format: format, isSymmetric: grid.isSymmetric, codes: grid.codes, halfRange: grid.halfRange,
        into: &codes)
    }
    let format = scaleType(forWeight: weightType).floatFormat
    guard format == .f16, weightType == .bf16 else { return library(format, &codes) }
    let found = library(.bf16, &codes)
    return GroupSearch.isF16(found.scale) ? found : library(.f16, &codes)
  }

  /// One row by itself, as `quantize` gives it.
  public func row(
    _ values: Span<Float>, weightType: ElementType, weights: [Float], instructionSet: InstructionSet = .best
  ) throws(ParseFailure) -> (codes: [UInt8], scales: [UInt8], zeroPoints: [UInt8]) {
    let groups = grid.groupCount(columns: values.count)
    var codes = [UInt8](repeating: 0, count: values.count)
    var scales = [UInt8](repeating: 0, count: groups * scaleType(forWeight: weightType).bits / 8)
    var zeroPoints = [UInt8](repeating: 0, count: groups)
    var codeSpan = codes.mutableSpan
    var scaleSpan = scales.mutableSpan
    var zeroSpan = zeroPoints.mutableSpan
    var scratch = Scratch()
    _ = try quantize(
      values, columns: values.count, weightType: weightType, weights: weights, codes: &codeSpan, scales: &scaleSpan,
      zeroPoints: &zeroSpan, scratch: &scratch, instructionSet: instructionSet)
    return (codes, scales, zeroPoints)
  }

  /// The first value of a row whose code is not the one nearest to it, given scales and zero points; nil when all are. The
  /// bound of any correct rounding to nearest, not of methods that feed errors forward.
  public func firstViolation(
    _ values: Span<Float>, codes: Span<UInt8>, scales: [Float], zeroPoints: [Int8]
  ) -> Int? {
    let size = grid.groupSize(columns: values.count)
    let (low, high) = (Float(grid.codes.lowerBound), Float(grid.codes.upperBound))
    // Rounding to nearest computes as the library does, in the weights' type: the place of a code, up to 16 steps of 4 bits
    // or 256 of 8, is rounded to eight bits twice.
    let slack: Float = method == .rtn ? (grid.bits == 4 ? 0x1p-4 : 1) : 0x1p-10
    for group in scales.indices {
      let (scale, zeroPoint) = (scales[group], Float(zeroPoints[group]))
      for index in group * size..<(group + 1) * size {
        let place = min(max(values[index] / scale + zeroPoint, low), high)
        if !(abs(place - Float(Int8(bitPattern: codes[index]))) <= 0.5 + slack) { return index }
      }
    }
    return nil
  }
}
