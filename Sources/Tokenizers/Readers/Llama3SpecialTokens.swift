/// The names of Llama 3's special tokens. A `tokenizer.model` does not hold them: they are a matter of the release.
/// They take the ids behind the ranks, in this order.
public enum Llama3SpecialTokens: String, Sendable, CaseIterable {
  /// Llama 3 (April 2024), `llama3/tokenizer.py`.
  case llama3
  /// Llama 3.1 and later in Meta's code, `llama-models`.
  case llamaModels
  /// Llama 3.1 and later as Hugging Face publishes them.
  case huggingFace

  /// How many every release has.
  public static let count = 256

  /// The names that all releases have, with their positions.
  static var common: [(position: Int, name: String)] {
    [0, 1, 6, 7, 9].map { ($0, llama3.names(10)[$0]) }
  }

  /// Names that differ from `reserved_special_token_N`, by position.
  private var named: [Int: String] {
    let common = [
      0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id", 9: "eot_id",
    ]
    let later = [4: "finetune_right_pad_id", 8: "eom_id", 10: "python_tag"]
    switch self {
    case .llama3: return common
    case .huggingFace: return common.merging(later) { $1 }
    case .llamaModels: return common.merging(later) { $1 }.merging([5: "step_id", 11: "image"]) { $1 }
    }
  }

  /// The first `count` names; the reserved ones are numbered through.
  public func names(_ count: Int) -> [String] {
    let named = named
    var reserved = 0
    return (0..<count).map { position in
      if let name = named[position] { return "<|\(name)|>" }
      defer { reserved += 1 }
      return "<|reserved_special_token_\(reserved)|>"
    }
  }
}
