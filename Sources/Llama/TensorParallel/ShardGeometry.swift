public import ByteIO
public import Tensors

/// Where the blocks are. Numbers of shards that do not divide are refused by `checkDivisible`; the ranges take it for
/// done and trap.
extension TensorParallelRules {
  /// Shard files are numbered with two digits.
  public static let largestShardCount = 100

  /// Refuses a number of shards over which the model cannot be cut into equal blocks of whole heads.
  /// - Throws: `ParseFailure` saying which number does not divide, with the numbers of shards up to 64 that do.
  public func checkDivisible(_ configuration: LlamaConfiguration, shards: Int) throws(ParseFailure) {
    guard let obstacle = obstacle(configuration, shards: shards) else { return }
    let possible = (1...64).filter { self.obstacle(configuration, shards: $0) == nil }
    throw ParseFailure(
      obstacle, advice: "possible numbers of shards: " + possible.map(String.init).joined(separator: ", "))
  }

  /// What keeps the model from being cut so, in words.
  private func obstacle(_ configuration: LlamaConfiguration, shards: Int) -> String? {
    guard (1...Self.largestShardCount).contains(shards) else {
      return "\(shards) shards are not possible, only 1 to \(Self.largestShardCount)"
    }
    let keyValueHeads = configuration.keyValueHeadCount
    var counts = [
      (configuration.headCount, "attention heads"), (configuration.feedForwardSize, "rows of the feed-forward block"),
      (configuration.vocabularySize, "rows of the vocabulary"),
    ]
    if embeddingSplit == .columns { counts.append((configuration.hiddenSize, "columns of the embedding")) }
    if let (count, what) = counts.first(where: { $0.0 % shards != 0 }) {
      return "the \(count) \(what) cannot be divided by \(shards) shards"
    }
    guard keyValueHeads % shards == 0 || shards % keyValueHeads == 0 else {
      return "of \(keyValueHeads) key/value heads and \(shards) shards neither is a multiple of the other"
    }
    return nil
  }

  /// How many consecutive shards hold the same block: all for replicated tensors; for keys and values as many as share
  /// a head when there are more shards than heads; one for the rest.
  public func copies(of role: TensorRole, _ configuration: LlamaConfiguration, shards: Int) -> Int {
    if split(of: role) == .replicated { return shards }
    guard role.isKeyOrValue else { return 1 }
    return max(1, shards / configuration.keyValueHeadCount)
  }

  /// Shape of the tensor in every shard.
  /// - Throws: `ParseFailure` when the model cannot be cut into so many shards.
  public func shardShape(
    of role: TensorRole, _ configuration: LlamaConfiguration, shards: Int
  ) throws(ParseFailure) -> Shape {
    try checkDivisible(configuration, shards: shards)
    let rows = rowRange(of: role, configuration, shard: 0, of: shards).count
    guard configuration.shape(of: role).rank == 2 else { return [rows] }
    return [rows, columnRange(of: role, configuration, shard: 0, of: shards).count]
  }

  /// The rows of the whole tensor that shard `shard` of `shards` holds. With more shards than key/value heads, shard r
  /// holds head ⌊r · heads / shards⌋: the one that its query heads read.
  public func rowRange(
    of role: TensorRole, _ configuration: LlamaConfiguration, shard: Int, of shards: Int
  ) -> Range<Int> {
    let rows = configuration.shape(of: role).rows
    guard split(of: role) == .rows else { return 0..<rows }
    let copies = copies(of: role, configuration, shards: shards)
    return Self.block(shard / copies, of: shards / copies, rows)
  }

  /// The columns of the whole tensor that shard `shard` of `shards` holds. A vector has one column.
  public func columnRange(
    of role: TensorRole, _ configuration: LlamaConfiguration, shard: Int, of shards: Int
  ) -> Range<Int> {
    let dimensions = configuration.shape(of: role).dimensions
    let columns = dimensions.count > 1 ? dimensions[1] : 1
    guard split(of: role) == .columns else { return 0..<columns }
    return Self.block(shard, of: shards, columns)
  }

  private static func block(_ index: Int, of blocks: Int, _ extent: Int) -> Range<Int> {
    precondition(extent % blocks == 0 && (0..<blocks).contains(index), "the extent divides, as was checked")
    let size = extent / blocks
    return index * size..<(index + 1) * size
  }

  /// How many times each key/value head is stored, told from the contents of the key and value tensors: the largest
  /// number g such that shards 0…g−1, g…2g−1 and so on hold the same.
  /// - Parameter contents: for every shard, one value per key and value tensor, in the same order: equal values for
  ///   equal bytes. Only checkpoints whose shards hold one head each can hold copies.
  /// - Throws: `ParseFailure` when the heads are repeated in turn (0, 1, 0, 1) instead of each beside its copy (0, 0, 1,
  ///   1): what a split that repeats the whole tensor leaves behind. Its query heads read the wrong keys.
  public static func keyValueCopies(_ contents: [[some Hashable]]) throws(ParseFailure) -> Int {
    let shards = contents.count
    let divisors = (1...max(1, shards)).filter { shards % $0 == 0 }
    let copies = divisors.last { size in contents.indices.allSatisfy { contents[$0] == contents[$0 / size * size] } }
    if let copies, copies > 1 { return copies }
    let period = divisors.first { size in contents.indices.allSatisfy { contents[$0] == contents[$0 % size] } }
    guard let period, period < shards else { return 1 }
    throw ParseFailure(
      "the key/value heads of shards 0 to \(period - 1) are repeated in shards \(period) to \(2 * period - 1) and so on, "
        + "each should be beside its copy",
      advice: "the checkpoint was cut wrongly by another tool; convert the original instead")
  }
}

extension TensorRole {
  /// True for the tensors whose heads grouped-query attention shares.
  var isKeyOrValue: Bool {
    guard case .layer(_, let part) = self else { return false }
    return part == .key || part == .value
  }
}
