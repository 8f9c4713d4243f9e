internal import ByteIO
internal import Checkpoints
internal import Kernels
internal import Synchronization
internal import Tensors

/// Does tiles of a plan. Worker threads pull them one by one; every tile's place in the output was planned, so the bytes do
/// not depend on the threads.
struct TileRun: Sendable {
  let plan: ConversionPlan
  let schedule: TileSchedule
  let writer: any OutputWriter
  let journal: TileJournal
  let interruption: Interruption

  /// Work of one thread beside the tiles. It is told whether tiles wait for threads, and whether all is in vain since
  /// another has failed.
  typealias SideWork = @Sendable (_ isBusy: () -> Bool, _ hasFailed: () -> Bool) throws -> Void

  /// - Parameters:
  ///   - positions: in the schedule, of the tiles to be done.
  ///   - sideWork: begun before the tiles.
  /// - Throws: `Interrupted` at the next tile's border once a stop was asked for; what tiles and side work throw.
  func run(_ positions: [Int], beside sideWork: [SideWork], progress: @escaping ConversionRun.Progress) throws {
    let cache = CacheAdvice(plan, schedule)
    let total = positions.reduce(UInt64(0)) { $0 + UInt64(schedule.inputByteCount(at: $1, plan.steps)) }
    let counter = ByteCounter(total: max(total, plan.inputByteCount), progress: progress)
    // What was done before counts as done.
    counter.add(Int(max(total, plan.inputByteCount) - total))
    let begun = Atomic<Int>(0)
    let hasFailed = Atomic<Bool>(false)
    let workers = Mutex<[TileWorker]>([])
    // Bytes that are merely carried over are proven equal, whatever they are. A new model is made of sound values only.
    let checksCopies = !plan.isLossless
    try Parallel.forEach(count: sideWork.count + positions.count, threads: plan.options.threads) { index in
      try interruption.check()
      if index < sideWork.count {
        return try sideWork[index](
          { plan.options.threads > 1 && begun.load(ordering: .relaxed) < positions.count },
          { hasFailed.load(ordering: .relaxed) })
      }
      let position = positions[index - sideWork.count]
      begun.add(1, ordering: .relaxed)
      let (stepIndex, tile) = schedule.tile(at: position)
      let step = plan.steps[stepIndex]
      cache.begin(position)
      var worker = workers.withLock { $0.popLast() } ?? TileWorker()
      do {
        let result = try worker.run(step, tile: tile, checksCopies: checksCopies, into: writer)
        try journal.note(position, result)
      } catch {
        hasFailed.store(true, ordering: .relaxed)
        if let failure = error as? ParseFailure { throw step.placed(failure).in(file: plan.input.path) }
        throw error
      }
      workers.withLock { $0.append(worker) }
      cache.finish(position)
      counter.add(schedule.inputByteCount(at: position, plan.steps))
    }
  }
}

extension PlannedStep {
  /// A failure inside the data, placed in the input's tensor and file.
  func placed(_ failure: ParseFailure) -> ParseFailure {
    var placed = failure
    if placed.item == nil { placed.item = rows.storedTensors.first?.tensor.name }
    return placed
  }
}

extension ConversionPlan {
  /// Writes what is known before any tensor: carried files and documents. Those that are there are written anew.
  func writeDocuments(to staging: StagedDirectory) throws {
    for name in sidecars.map(\.name) + documents.map(\.name) { try FileSystem.remove(staging.file(name)) }
    for sidecar in sidecars {
      let copy = try WritableFile(creating: staging.file(sidecar.name), byteCount: sidecar.byteCount)
      try sidecar.forEachPiece { offset, bytes in try copy.write(bytes.span, at: offset) }
      try copy.synchronize()
    }
    for document in documents { try FileSystem.write(document.bytes, toNew: staging.file(document.name)) }
  }
}
