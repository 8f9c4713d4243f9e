internal import Tensors

/// Integer codes of a weight `[out, in]`: their width, whether they have zero points, and how many elements of a row share a
/// scale. value = (code − zeroPoint) · scale.
public struct IntegerGrid: Sendable, Hashable, CustomStringConvertible {
  /// 4 or 8.
  public let bits: Int
  /// All zero points are 0.
  public let isSymmetric: Bool
  /// Nil: the whole row, an output channel.
  public let groupSize: Int?

  public init(bits: Int, isSymmetric: Bool, groupSize: Int?) {
    precondition(bits == 4 || bits == 8, "codes of 4 or 8 bits")
    precondition(groupSize ?? 1 > 0, "groups have elements")
    self.bits = bits
    self.isSymmetric = isSymmetric
    self.groupSize = groupSize
  }

  public var codes: ClosedRange<Int8> { bits == 4 ? -8...7 : -128...127 }

  /// Half the number of steps between the outermost codes: what compressed-tensors divides a group's largest magnitude by.
  public var halfRange: Float { bits == 4 ? 7.5 : 127.5 }

  public var scheme: WeightScheme { groupSize.map { .block(rows: 1, columns: $0) } ?? .rowWise }

  /// Elements that share a scale in rows of so many.
  public func groupSize(columns: Int) -> Int { groupSize ?? columns }

  /// Groups of a row; `columns` is a whole number of groups.
  public func groupCount(columns: Int) -> Int { groupSize.map { columns / $0 } ?? 1 }

  /// Bits of codes, scales and zero points for each weight.
  public func bitsPerWeight(columns: Int, scaleBits: Int) -> Double {
    Double(bits) + Double(scaleBits + (isSymmetric ? 0 : bits)) / Double(groupSize(columns: columns))
  }

  public var description: String {
    "int\(bits) \(groupSize.map { "in groups of \($0)" } ?? "rows")\(isSymmetric ? "" : " with zero points")"
  }
}

/// How scales, zero points and codes are found.
public enum IntegerMethod: String, Sendable, Hashable, CaseIterable {
  /// Rounding to nearest with the scale that spans a group, to the bit as compressed-tensors and llm-compressor do it.
  case rtn
  /// The scale with the least squared error, of all that BF16 holds.
  case mse
  /// Half-quadratic quantization: the zero point (or scale) with the least error in a norm that forgives outliers.
  case hqq
  /// As `mse`, the error weighted by how strongly calibration text drives each input.
  case imse
  /// Rounding errors are fed forward into columns not rounded yet (arXiv:2210.17323).
  case gptq
  /// Channels are scaled so that those that matter most are rounded least (arXiv:2306.00978).
  case awq
  /// Scaled channels, then fed-forward errors.
  case awqGPTQ = "awq+gptq"

  public var isCalibrated: Bool {
    switch self {
    case .rtn, .mse, .hqq: false
    case .imse, .gptq, .awq, .awqGPTQ: true
    }
  }
  public var scalesChannels: Bool { self == .awq || self == .awqGPTQ }
  public var feedsErrorsForward: Bool { self == .gptq || self == .awqGPTQ }
}
