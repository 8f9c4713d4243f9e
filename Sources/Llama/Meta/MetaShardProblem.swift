public import ByteIO
public import Tensors

/// One disagreement between the shards of a Meta checkpoint. Shards are named by their files.
public enum MetaShardProblem: Sendable, Equatable {
  /// A file whose name states no rank.
  case unnumbered(shard: String)
  /// A number is left out, or the numbering does not start at 00.
  case missingShard(expected: String, last: String)
  /// A tensor that another shard has.
  case missing(tensor: String, shard: String, other: String)
  case differentShape(tensor: String, shard: String, found: Shape, other: String, expected: Shape)
  case differentType(tensor: String, shard: String, found: ElementType, other: String, expected: ElementType)
  /// All shards agree, but not with the configuration.
  case wrongShape(tensor: String, shard: String, found: Shape, expected: Shape)
  /// Two shards hold the same bytes in every tensor that is cut: one file was copied over the other.
  case sameContents(tensor: String, shard: String, other: String)

  /// A stable short name for scripts.
  public var code: String {
    switch self {
    case .unnumbered: "unnumbered-shard"
    case .missingShard: "missing-shard"
    case .missing: "missing-in-shard"
    case .differentShape: "different-shape"
    case .differentType: "different-type"
    case .wrongShape: "wrong-shard-shape"
    case .sameContents: "same-contents"
    }
  }

  public var shard: String {
    switch self {
    case .unnumbered(let shard), .missingShard(let shard, _), .missing(_, let shard, _),
      .differentShape(_, let shard, _, _, _), .differentType(_, let shard, _, _, _), .wrongShape(_, let shard, _, _),
      .sameContents(_, let shard, _):
      shard
    }
  }

  /// The tensor that the problem is about, if it is about one.
  public var tensor: String? {
    switch self {
    case .unnumbered, .missingShard: nil
    case .missing(let tensor, _, _), .differentShape(let tensor, _, _, _, _), .differentType(let tensor, _, _, _, _),
      .wrongShape(let tensor, _, _, _), .sameContents(let tensor, _, _):
      tensor
    }
  }

  /// What was found and what was expected; shard and tensor are named apart.
  public var message: String {
    switch self {
    case .unnumbered: "the name states no rank, expected \(MetaShard.fileName(rank: 0)) and so on"
    case .missingShard(_, let last): "the shard is missing, the last one is \(last)"
    case .missing(_, _, let other): "the tensor is missing, \(other) has it"
    case .differentShape(_, _, let found, let other, let expected):
      "the shape is \(found), in \(other) it is \(expected)"
    case .differentType(_, _, let found, let other, let expected): "the type is \(found), in \(other) it is \(expected)"
    case .wrongShape(_, _, let found, let expected): "the shape is \(found), the parameters demand \(expected)"
    case .sameContents(_, _, let other): "this and all other tensors that are cut hold the same bytes as in \(other)"
    }
  }

  private var advice: String {
    switch self {
    case .unnumbered: "remove the file from the directory, or give it its name back"
    case .missingShard, .missing: "the download may be incomplete"
    case .differentShape, .differentType: "the shards may be of two models"
    case .wrongShape: "params.json may belong to another model"
    case .sameContents: "one file was copied over the other: download it again"
    }
  }

  /// The problem as an error.
  public var failure: ParseFailure { ParseFailure(message, file: shard, item: tensor, advice: advice) }
}
