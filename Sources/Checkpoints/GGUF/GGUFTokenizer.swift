internal import ByteIO
internal import GGUFFormat
internal import Llama

/// The tokenizer of a GGUF file as the files that other layouts have.
enum GGUFTokenizer {
  static func files(_ metadata: GGUFMetadata, _ configuration: LlamaConfiguration) throws -> [EmbeddedFile] { [] }
}

extension Checkpoint {
  /// The keys of the tokenizer that travels with the model; none when it came in a GGUF, whose own keys stay.
  func tokenizerKeys() throws -> [(key: String, value: GGUFValue)] { [] }
}
