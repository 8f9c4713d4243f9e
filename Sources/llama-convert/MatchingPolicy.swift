internal import Conversion
internal import Llama
internal import Verification

extension TargetType {
  /// What a conversion is held to when nobody says: nothing may change where types stay, 8 bits and more are held to
  /// `fp8`, fewer to `int4`.
  var matchingPolicy: Policy {
    switch self {
    case .unchanged: .lossless
    case .element, .fp8, .integers(bits: 8): .fp8
    case .ggml(let type): ["q8_0", "q6_k", "f32", "f16", "bf16"].contains(type.rawValue) ? .fp8 : .int4
    default: .int4
    }
  }
}
