/// Schemes in words that no format owns, and back: for files that describe themselves.
extension WeightScheme {
  /// - Parameter canonicalText: as the property of that name; nil when it is none.
  public init?(canonicalText: String) {
    switch canonicalText {
    case "row": self = .rowWise
    case "tensor": self = .perTensor
    default:
      let parts = canonicalText.split(separator: " ", omittingEmptySubsequences: false)
      guard parts.count == 2, parts[0] == "block" else { return nil }
      let extents = parts[1].split(separator: "x", omittingEmptySubsequences: false).compactMap { Int($0) }
      guard extents.count == 2, extents.allSatisfy({ (1...1 << 31).contains($0) }) else { return nil }
      self = .block(rows: extents[0], columns: extents[1])
      // Other spellings of the same numbers are none.
      guard self.canonicalText == canonicalText else { return nil }
    }
  }
}

extension ActivationScheme {
  public var canonicalText: String {
    switch self {
    case .none: "none"
    case .dynamicPerToken(nil): "fp8 token"
    case .dynamicPerToken(let bound?): "fp8 token \(bound)"
    case .dynamicPerGroup(let size): "fp8 group \(size)"
    case .staticPerTensor: "fp8 static"
    case .dynamicSymmetricInt8PerToken: "int8 symmetric token"
    case .dynamicInt8PerToken: "int8 token"
    }
  }

  /// - Parameter canonicalText: as the property of that name; nil when it is none.
  public init?(canonicalText: String) {
    switch canonicalText {
    case "none": self = .none
    case "fp8 token": self = .dynamicPerToken(upperBound: nil)
    case "fp8 static": self = .staticPerTensor
    case "int8 symmetric token": self = .dynamicSymmetricInt8PerToken
    case "int8 token": self = .dynamicInt8PerToken
    default:
      let parts = canonicalText.split(separator: " ", omittingEmptySubsequences: false)
      guard parts.count == 3, parts[0] == "fp8" else { return nil }
      if parts[1] == "token", let bound = Float(parts[2]), bound.isFinite, bound > 0 {
        self = .dynamicPerToken(upperBound: bound)
      } else if parts[1] == "group", let size = Int(parts[2]), (1...1 << 31).contains(size) {
        self = .dynamicPerGroup(size)
      } else {
        return nil
      }
    }
  }
}
