internal import ByteIO
internal import GGUFFormat
internal import Llama

/// A model whose headers and configuration have been read, before anything about it is believed: `lint` shows its
/// problems, `Checkpoint` refuses those that are errors.
protocol OpenedModel {
  var configuration: LlamaConfiguration { get }
  var census: Census { get }
  /// Things that the user should know; the census's warnings among them.
  var notes: [String] { get }

  /// The checkpoint, once the census has found no error.
  /// - Throws: `ParseFailure` for what tensors and configuration contradict each other in.
  func checkpoint() throws -> Checkpoint

  /// One tensor of those that the census has found, as `checkpoint()` has it.
  /// - Throws: `ParseFailure` for what its stored form contradicts the configuration in.
  func tensor(_ role: TensorRole, named name: String) throws -> LogicalTensor
}

extension LayoutRecognition {
  /// Opens the model at `path`, whose layout is recognised from its content.
  /// - Throws: `FileFailure` (missing, unreadable), `ParseFailure` (corrupt, not a supported layout).
  static func open(_ path: String) throws -> any OpenedModel {
    switch try recognise(path) {
    case .huggingFace(let names): return try HuggingFaceDirectory(path: path, names: names)
    case .meta(let names): return try MetaDirectory(path: path, names: names)
    case .gguf(let file): return try openGGUF(path, file)
    }
  }

  /// - Parameter file: the file, or any piece of a split set.
  private static func openGGUF(_ path: String, _ file: String) throws -> any OpenedModel {
    let source = try GGUFSplitSet(path: file)
    guard CompactProfile.describes(source.metadata) else { return try GGUFModel(path: path, source: source) }
    guard source.pieces.count == 1 else {
      throw ParseFailure("a compact file is not split, this one is in \(source.pieces.count) pieces", file: file)
    }
    return try CompactModel(path: path, file: source.pieces[0])
  }
}
