public import ByteIO

/// What one rank's file of a Meta checkpoint holds: names, types, shapes.
public struct MetaShard: Sendable {
  /// `consolidated.03.pth`; names the shard in messages.
  public let fileName: String
  public let entries: [Census.Entry]
  /// CRC-32 of each tensor's record, under the tensor's name, where a record holds this tensor and nothing else.
  public let checksums: [UTF8Key: UInt32]
  private let places: [UTF8Key: Int]

  /// Of entries with equal names the first counts.
  public init(fileName: String, entries: [Census.Entry], checksums: [UTF8Key: UInt32] = [:]) {
    self.fileName = fileName
    self.entries = entries
    self.checksums = checksums
    places = Dictionary(entries.indices.map { (UTF8Key(entries[$0].name), $0) }) { first, _ in first }
  }

  public subscript(name: String) -> Census.Entry? { places[UTF8Key(name)].map { entries[$0] } }
  public subscript(role: TensorRole) -> Census.Entry? { self[NamingDialect.meta.name(for: role)] }

  /// `consolidated.03.pth` for rank 3.
  public static func fileName(rank: Int) -> String { "consolidated.\(rank < 10 ? "0" : "")\(rank).pth" }

  /// The rank that a file name states: the two digits of `consolidated.NN.pth`; nil for other names.
  public static func rank(ofFileNamed name: String) -> Int? {
    (0..<TensorParallelRules.largestShardCount).first { fileName(rank: $0) == name }
  }
}
