/// ggml's block types: so many elements of a row are stored in so many bytes, with scales of their own. A block never
/// spans rows. Raw values are the names that llama.cpp prints, in upper case.
///
/// Source: `formats/ggml-blocks.md`.
// The field's own names, which have an underscore.
// swift-format-ignore: AlwaysUseLowerCamelCase
public enum BlockType: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
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

  /// Elements and bytes of one block.
  public var size: (elements: Int, bytes: Int) {
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

  public var description: String { rawValue }
}
