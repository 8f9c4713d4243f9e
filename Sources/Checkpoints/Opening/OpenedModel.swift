internal import Llama

/// A model whose headers and configuration have been read, before anything about it is believed: `lint` shows its
/// problems, `Checkpoint` refuses those that are errors.
protocol OpenedModel {
  var census: Census { get }
  /// Things that the user should know; the census's warnings among them.
  var notes: [String] { get }

  /// The checkpoint, once the census has found no error.
  /// - Throws: `ParseFailure` for what tensors and configuration contradict each other in.
  func checkpoint() throws -> Checkpoint
}

extension LayoutRecognition {
  /// Opens the model at `path`, whose layout is recognised from its content.
  /// - Throws: `FileFailure` (missing, unreadable), `ParseFailure` (corrupt, not a supported layout).
  static func open(_ path: String) throws -> any OpenedModel {
    switch try recognise(path) {
    case .huggingFace(let names): try HuggingFaceDirectory(path: path, names: names)
    case .meta(let names): try MetaDirectory(path: path, names: names)
    case .gguf(let file): try GGUFModel(path: path, file: file)
    }
  }
}
