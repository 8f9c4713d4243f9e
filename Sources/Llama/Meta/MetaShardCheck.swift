public import ByteIO
internal import Tensors

/// What can be told of a Meta checkpoint's shards from their headers alone. That replicated tensors are equal is told
/// from their bytes, elsewhere; that shards were swapped cannot be told at all without checksums of the whole files.
public struct MetaShardCheck: Sendable {
  /// In order of gravity: files, names, types and shapes, contents.
  public private(set) var problems: [MetaShardProblem] = []

  /// Compares the shards with each other.
  /// - Parameter shards: in the order of their file names.
  public init(_ shards: [MetaShard]) {
    checkNumbers(shards)
    guard let first = shards.first else { return }
    for shard in shards.dropFirst() { compare(shard, with: first) }
    for (index, shard) in shards.enumerated() {
      for other in shards[..<index] {
        if let tensor = Self.sharedContents(shard, other) {
          problems.append(.sameContents(tensor: tensor, shard: shard.fileName, other: other.fileName))
          break
        }
      }
    }
  }

  /// Compares the shards, which agree with each other, with the model that they are to hold.
  public init(_ shards: [MetaShard], model: MetaModel) throws(ParseFailure) {
    guard let first = shards.first else { return }
    for role in model.configuration.roles {
      guard let entry = first[role] else { continue }
      let expected = try model.rules.shardShape(of: role, model.configuration, shards: shards.count)
      guard entry.shape != expected else { continue }
      problems.append(
        .wrongShape(tensor: entry.name, shard: first.fileName, found: entry.shape, expected: expected))
    }
  }

  /// Throws the first problem, if there is one, and says how many more there are.
  public func refuse() throws(ParseFailure) {
    guard var failure = problems.first?.failure else { return }
    if problems.count > 1 { failure.message += " (and \(problems.count - 1) more such problems)" }
    throw failure
  }

  private mutating func checkNumbers(_ shards: [MetaShard]) {
    for (position, shard) in shards.enumerated() {
      guard let rank = MetaShard.rank(ofFileNamed: shard.fileName) else {
        problems.append(.unnumbered(shard: shard.fileName))
        continue
      }
      guard rank != position else { continue }
      // One gap moves all later shards: it is told once.
      problems.append(
        .missingShard(expected: MetaShard.fileName(rank: position), last: shards[shards.count - 1].fileName))
      return
    }
  }

  /// Names, types and shapes are the same in all shards: the blocks of a tensor are equal.
  private mutating func compare(_ shard: MetaShard, with first: MetaShard) {
    for expected in first.entries where !NamingDialect.meta.isLeftover(expected.name) {
      guard let entry = shard[expected.name] else {
        problems.append(.missing(tensor: expected.name, shard: shard.fileName, other: first.fileName))
        continue
      }
      if entry.elementType != expected.elementType {
        problems.append(
          .differentType(
            tensor: entry.name, shard: shard.fileName, found: entry.elementType, other: first.fileName,
            expected: expected.elementType))
      }
      if entry.shape != expected.shape {
        problems.append(
          .differentShape(
            tensor: entry.name, shard: shard.fileName, found: entry.shape, other: first.fileName,
            expected: expected.shape))
      }
    }
    for entry in shard.entries where !NamingDialect.meta.isLeftover(entry.name) && first[entry.name] == nil {
      problems.append(.missing(tensor: entry.name, shard: first.fileName, other: shard.fileName))
    }
  }

  /// The first of the tensors that are cut when all of them have equal checksums; nil when one differs or none has any.
  /// One equal tensor alone proves nothing: one that was never trained is zero in every shard, and keys and values may be
  /// copies of a head.
  private static func sharedContents(_ shard: MetaShard, _ other: MetaShard) -> String? {
    let rules = TensorParallelRules(embeddingSplit: .rows)
    var found: String?
    for entry in shard.entries {
      guard let role = NamingDialect.meta.role(for: entry.name), rules.split(of: role) != .replicated,
        let checksum = shard.checksums[UTF8Key(entry.name)], let otherChecksum = other.checksums[UTF8Key(entry.name)]
      else { continue }
      guard checksum == otherChecksum else { return nil }
      found = found ?? entry.name
    }
    return found
  }
}
