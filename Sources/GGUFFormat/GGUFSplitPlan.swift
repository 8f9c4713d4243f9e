public import ByteIO
public import Tensors

/// Which tensor goes into which file. Equal input gives an equal plan.
public struct GGUFSplitPlan: Sendable, Equatable {
  /// One file of the plan.
  public struct Piece: Sendable, Equatable {
    public let fileName: String
    public let layout: GGUFLayout
  }

  /// When a piece is full. Both may be set; what comes first counts.
  public struct Limits: Sendable, Hashable {
    /// Bytes of its tensors, without padding and header. A larger tensor gets a piece of its own.
    public var size: ByteSize?
    /// Its tensors.
    public var tensorCount: Int?
    /// The first piece has no tensors: metadata can be had without the weights.
    public var firstPieceIsMetadata: Bool

    public init(size: ByteSize? = nil, tensorCount: Int? = nil, firstPieceIsMetadata: Bool = false) {
      precondition(tensorCount.map { $0 > 0 } ?? true, "a piece holds at least one tensor")
      self.size = size
      self.tensorCount = tensorCount
      self.firstPieceIsMetadata = firstPieceIsMetadata
    }

    public static let none = Limits()
  }

  public let pieces: [Piece]

  /// Packs `tensors` in their order: one that would take a piece past a limit starts the next. All metadata is in the
  /// first piece; the others have what tells that they belong to it.
  /// - Parameters:
  ///   - name: the files' name without numbers and `.gguf`.
  ///   - metadata: keys of an earlier split in it are left out.
  ///   - alignment: as for `GGUFLayout`.
  /// - Throws: `ParseFailure` when a name is given twice, a layout is impossible, or there would be more than
  ///   `GGUFLimits.pieceCount` pieces.
  public init(
    _ tensors: [TensorInfo], metadata: GGUFMetadata, name: String, limits: Limits = .none,
    alignment: Int = GGUFLimits.defaultAlignment
  ) throws(ParseFailure) {
    var seen: Set<UTF8Key> = []
    for tensor in tensors {
      guard seen.insert(UTF8Key(tensor.name)).inserted else {
        throw ParseFailure("two tensors have this name", item: tensor.name)
      }
    }
    let contents = try Self.pack(tensors, limits)
    guard contents.count <= GGUFLimits.pieceCount, tensors.count <= Int(Int32.max) else {
      throw ParseFailure(
        "the model would be split into \(contents.count) files, at most \(GGUFLimits.pieceCount) are allowed",
        advice: "raise the limit of a file's size")
    }
    var whole = metadata
    for key in GGUFSplit.keys { whole.remove(key) }
    var pieces: [Piece] = []
    for (number, tensors) in contents.enumerated() {
      var metadata = number == 0 ? whole : GGUFMetadata()
      if contents.count > 1 {
        // Every piece states its alignment. (The reference writer forgets it in all but the first.)
        if alignment != GGUFLimits.defaultAlignment {
          metadata.set(GGUFHeader.alignmentKey, to: .uint32(UInt32(truncatingIfNeeded: alignment)))
        }
        metadata.set(GGUFSplit.numberKey, to: .uint16(UInt16(number)))
        metadata.set(GGUFSplit.countKey, to: .uint16(UInt16(contents.count)))
        metadata.set(GGUFSplit.tensorCountKey, to: .int32(Int32(seen.count)))
      }
      let fileName = GGUFSplit.fileName(name, number + 1, of: contents.count)
      pieces.append(
        Piece(fileName: fileName, layout: try GGUFLayout(tensors, metadata: metadata, alignment: alignment)))
    }
    self.pieces = pieces
  }

  private static func pack(_ tensors: [TensorInfo], _ limits: Limits) throws(ParseFailure) -> [[TensorInfo]] {
    var pieces: [[TensorInfo]] = limits.firstPieceIsMetadata && !tensors.isEmpty ? [[], []] : [[]]
    var size: UInt64 = 0
    for tensor in tensors {
      let (sum, overflow) = size.addingReportingOverflow(UInt64(tensor.byteCount))
      let last = pieces[pieces.count - 1].count
      let isFull = overflow || limits.size.map { sum > $0.byteCount } ?? false
      if last > 0, isFull || limits.tensorCount.map({ last >= $0 }) ?? false {
        pieces.append([tensor])
        size = UInt64(tensor.byteCount)
      } else {
        guard !overflow else { throw ParseFailure("the tensors' sizes overflow", item: tensor.name) }
        pieces[pieces.count - 1].append(tensor)
        size = sum
      }
    }
    return pieces
  }
}
