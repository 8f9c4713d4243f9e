internal import ByteIO
internal import Synchronization
internal import Tensors

/// Remembers which tiles are done. Every few seconds what was written is flushed, and only then said to be done: whatever
/// kills process or machine, what the journal says is on the disk.
final class TileJournal: Sendable {
  private struct State {
    /// Done, and not said yet.
    var pending: [TileRecord.Tile] = []
    var results: [Int: TileWorker.Result] = [:]
    var doneCount = 0
    var savedCount = 0
    var lastSave = ContinuousClock.now
    var isSaving = false
    /// What a saving beside the work has met. A disk says once that it could not take something.
    var failure: (any Error)?
  }

  /// Nil where work cannot be gone on with.
  private let log: RecordLog?
  private let writer: any OutputWriter
  private let interval: Duration
  private let state = Mutex(State())
  /// Held while one saves.
  private let turn = Mutex(())

  /// - Parameter records: what an earlier run has left in the log.
  init(_ log: RecordLog?, _ writer: any OutputWriter, interval: Double, records: [TileRecord]) {
    self.log = log
    self.writer = writer
    self.interval = .seconds(interval)
    state.withLock { state in
      var positions: Set<Int> = []
      for tile in records.flatMap(\.tiles) {
        positions.insert(tile.position)
        if let result = tile.result { state.results[tile.position] = result }
      }
      state.doneCount = positions.count
      state.savedCount = positions.count
    }
  }

  /// Of quantized tiles that are done, by position.
  var results: [Int: TileWorker.Result] { state.withLock { $0.results } }
  /// Tiles that a later run will not do again.
  var savedCount: Int { state.withLock { $0.savedCount } }

  /// A tile is done: its bytes were handed to the system.
  /// - Throws: what the last saving threw.
  func note(_ position: Int, _ result: TileWorker.Result?) throws {
    let isDue = state.withLock { state in
      if let result { state.results[position] = result }
      state.doneCount += 1
      guard log != nil else { return false }
      state.pending.append(TileRecord.Tile(position: position, result: result))
      guard !state.isSaving, ContinuousClock.now - state.lastSave >= interval else { return false }
      state.isSaving = true
      return true
    }
    guard isDue else { return }
    if interval == .zero {
      defer { state.withLock { $0.isSaving = false } }
      return try save()
    }
    if let failure = state.withLock({ $0.failure }) { throw failure }
    _ = BackgroundWork { [self] in
      defer { state.withLock { $0.isSaving = false } }
      do { try save() } catch { state.withLock { $0.failure = error } }
    }
  }

  /// Makes all that is done safe on the disk, whether it was due or not.
  /// - Throws: `FileFailure`.
  func save() throws {
    try turn.withLock { _ in
      if let failure = state.withLock({ $0.failure }) { throw failure }
      // First the tiles, then what the writer knows: of every tile taken here all its notes are there.
      let tiles = state.withLock { state in
        defer { state.pending = [] }
        return state.pending
      }
      let notes = writer.takeNotes()
      try writer.synchronize()
      guard let log, !tiles.isEmpty || !notes.isEmpty else { return }
      try log.append(TileRecord(tiles: tiles, notes: notes).bytes)
      state.withLock { state in
        state.savedCount += tiles.count
        state.lastSave = .now
      }
    }
  }

  /// Says that all tiles of a part are done.
  /// - Throws: `FileFailure`.
  func close() throws {
    try save()
    // Of a part without tiles the headers may still be news.
    try log?.append(TileRecord(notes: writer.takeNotes(), isLast: true).bytes)
  }
}
