internal import CKernels

/// ggml's block types: so many elements of a row in so many bytes, with scales of their own; a block never spans rows.
/// Raw values are the names that llama.cpp prints, in upper case.
///
/// Source: `formats/ggml-blocks.md`.
// The field's own names, which have an underscore.
// swift-format-ignore: AlwaysUseLowerCamelCase
public enum BlockFormat: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  case q4_0 = "Q4_0"
  case q4_1 = "Q4_1"
  case q5_0 = "Q5_0"
  case q5_1 = "Q5_1"
  case q8_0 = "Q8_0"
  case q8_1 = "Q8_1"
  case q2_k = "Q2_K"
  case q3_k = "Q3_K"
  case q4_k = "Q4_K"
  case q5_k = "Q5_K"
  case q6_k = "Q6_K"
  case q8_k = "Q8_K"
  case iq2_xxs = "IQ2_XXS"
  case iq2_xs = "IQ2_XS"
  case iq3_xxs = "IQ3_XXS"
  case iq1_s = "IQ1_S"
  case iq4_nl = "IQ4_NL"
  case iq3_s = "IQ3_S"
  case iq2_s = "IQ2_S"
  case iq4_xs = "IQ4_XS"
  case iq1_m = "IQ1_M"
  case tq1_0 = "TQ1_0"
  case tq2_0 = "TQ2_0"
  case mxfp4 = "MXFP4"
  case nvfp4 = "NVFP4"
  case q1_0 = "Q1_0"
  case q2_0 = "Q2_0"

  /// Elements of one block.
  public var elementCount: Int { shape.elements }

  /// Bytes of one block.
  public var byteCount: Int { shape.bytes }

  /// Whether ``BlockRows/dequantize(_:format:into:instructionSet:)`` takes it. Not those that hold activations only (Q8_1,
  /// Q8_K), nor those that index tables of grid points (IQ1, IQ2, IQ3).
  public var canDequantize: Bool { native != nil }

  /// Whether ``BlockRows/quantize(_:columns:format:columnWeights:into:instructionSet:)`` takes it.
  public var canQuantize: Bool {
    switch self {
    case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .iq4_nl, .q4_k, .q5_k, .q6_k, .mxfp4, .nvfp4: true
    default: false
    }
  }

  public var description: String { rawValue }

  private var shape: (elements: Int, bytes: Int) {
    switch self {
    case .q4_0: (32, 18)
    case .q4_1: (32, 20)
    case .q5_0: (32, 22)
    case .q5_1: (32, 24)
    case .q8_0: (32, 34)
    case .q8_1: (32, 36)
    case .q2_k: (256, 84)
    case .q3_k: (256, 110)
    case .q4_k: (256, 144)
    case .q5_k: (256, 176)
    case .q6_k: (256, 210)
    case .q8_k: (256, 292)
    case .iq2_xxs: (256, 66)
    case .iq2_xs: (256, 74)
    case .iq3_xxs: (256, 98)
    case .iq1_s: (256, 50)
    case .iq4_nl: (32, 18)
    case .iq3_s: (256, 110)
    case .iq2_s: (256, 82)
    case .iq4_xs: (256, 136)
    case .iq1_m: (256, 56)
    case .tq1_0: (256, 54)
    case .tq2_0: (256, 66)
    case .mxfp4: (32, 17)
    case .nvfp4: (64, 36)
    case .q1_0: (128, 18)
    case .q2_0: (64, 18)
    }
  }

  /// The kernels' name for it, nil when they have none.
  var native: ck_block? {
    switch self {
    case .q4_0: .q4_0
    case .q4_1: .q4_1
    case .q5_0: .q5_0
    case .q5_1: .q5_1
    case .q8_0: .q8_0
    case .iq4_nl: .iq4_nl
    case .q4_k: .q4_k
    case .q5_k: .q5_k
    case .q6_k: .q6_k
    case .mxfp4: .mxfp4
    case .nvfp4: .nvfp4
    case .q2_k: .q2_k
    case .q3_k: .q3_k
    case .iq4_xs: .iq4_xs
    case .q1_0: .q1_0
    case .q2_0: .q2_0
    case .tq1_0: .tq1_0
    case .tq2_0: .tq2_0
    case .q8_1, .q8_k, .iq2_xxs, .iq2_xs, .iq3_xxs, .iq1_s, .iq3_s, .iq2_s, .iq1_m: nil
    }
  }
}
