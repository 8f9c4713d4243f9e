internal import ByteIO
internal import Dispatch
internal import Synchronization
internal import Tensors

/// Puts compressed chunks one behind the other in the plan's order, whatever order they come in, and collects the parts of
/// chunks that come apart.
final class ChunkQueue: Sendable {
  /// Bytes and where they go in the file.
  struct Piece {
    let offset: UInt64
    let bytes: [UInt8]
  }

  private struct Place: Hashable {
    var tensor: Int
    var chunk: Int
  }

  private struct State {
    /// The chunk that is put down next.
    var next: Place
    /// Where it goes.
    var offset: UInt64
    /// Where its tensor begins, with its table.
    var start: UInt64
    /// The tensor's table so far.
    var table: [UInt8] = []
    /// Chunks that are early.
    var early: [Place: (bytes: [UInt8], sizes: [Int])] = [:]
    var earlyByteCount = 0
    /// Chunks of which parts are here.
    var parts: [Place: (bytes: [UInt8], filled: Int)] = [:]
    var storedByteCounts: [Int?]
  }

  /// By tensor; nil for those that are not compressed.
  private let chunks: [CompactChunks?]
  private let alignment: UInt64
  private let state: Mutex<State>
  /// Bytes of early chunks from which on a thread waits for the others. A slow one, such as a read from a network, must not
  /// let them fill the memory.
  private static let earlyLimit = 16 << 20

  /// - Parameter start: offset in the file of the first compressed tensor.
  init(_ chunks: [CompactChunks?], start: UInt64, alignment: Int) {
    self.chunks = chunks
    self.alignment = UInt64(alignment)
    var state = State(
      next: Place(tensor: 0, chunk: 0), offset: start, start: start,
      storedByteCounts: [Int?](repeating: nil, count: chunks.count))
    // Not a chunk is put down before the first tensor is found.
    Self.begin(&state, from: 0, chunks, self.alignment)
    self.state = Mutex(state)
  }

  /// Of the compressed tensors that are complete.
  var storedByteCounts: [Int?] { state.withLock { $0.storedByteCounts } }

  /// Goes to the next tensor that has chunks; one without any is complete at once.
  private static func begin(
    _ state: inout State, from first: Int, _ chunks: [CompactChunks?], _ alignment: UInt64
  ) {
    var index = first
    while index < chunks.count {
      if let own = chunks[index] {
        if own.count > 0 {
          state.next = Place(tensor: index, chunk: 0)
          state.start = (state.offset + alignment - 1) / alignment * alignment
          state.offset = state.start + UInt64(own.tableByteCount)
          state.table = []
          return
        }
        state.storedByteCounts[index] = 0
      }
      index += 1
    }
    state.next = Place(tensor: chunks.count, chunk: 0)
  }

  /// Takes a part of a chunk.
  /// - Returns: the chunk, once it is whole.
  func collect(_ bytes: Span<UInt8>, at offset: Int, _ tensor: Int, _ chunk: Int, byteCount: Int) -> [UInt8]? {
    let place = Place(tensor: tensor, chunk: chunk)
    var copy = [UInt8](repeating: 0, count: bytes.count)
    var span = copy.mutableSpan
    span.copy(from: bytes)
    return state.withLock { state in
      var (whole, filled) = state.parts.removeValue(forKey: place) ?? ([UInt8](repeating: 0, count: byteCount), 0)
      whole.replaceSubrange(offset..<offset + copy.count, with: copy)
      filled += copy.count
      if filled == byteCount { return whole }
      state.parts[place] = (whole, filled)
      return nil
    }
  }

  /// Takes a whole chunk, compressed.
  /// - Returns: what has its place in the file now.
  func deliver(_ encoded: (bytes: [UInt8], sizes: [Int]), _ tensor: Int, _ chunk: Int) -> [Piece] {
    state.withLock { state in
      state.early[Place(tensor: tensor, chunk: chunk)] = encoded
      state.earlyByteCount += encoded.bytes.count
      var pieces: [Piece] = []
      while let (bytes, sizes) = state.early.removeValue(forKey: state.next) {
        state.earlyByteCount -= bytes.count
        pieces.append(Piece(offset: state.offset, bytes: bytes))
        state.offset += UInt64(bytes.count)
        for size in sizes {
          state.table.append(littleEndian: UInt64(size), byteCount: CompactChunks.sizeByteCount)
        }
        state.next.chunk += 1
        guard let own = chunks[state.next.tensor], state.next.chunk == own.count else { continue }
        pieces.append(Piece(offset: state.start, bytes: state.table))
        state.storedByteCounts[state.next.tensor] = Int(state.offset - state.start)
        Self.begin(&state, from: state.next.tensor + 1, chunks, alignment)
      }
      return pieces
    }
  }

  /// Waits for a while where this thread is far ahead of another. It goes on in any case: when the other has failed, what
  /// it should bring never comes.
  func letOthersCatchUp() {
    let pause = DispatchSemaphore(value: 0)
    for _ in 0..<2000 {
      if state.withLock({ $0.earlyByteCount }) <= Self.earlyLimit { return }
      _ = pause.wait(timeout: .now() + .milliseconds(1))
    }
  }
}
