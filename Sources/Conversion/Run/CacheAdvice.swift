internal import ByteIO
internal import Checkpoints

/// What the system is told about the input's bytes while tiles are converted. Hints only: no byte of the output depends
/// on them.
struct CacheAdvice: Sendable {
  private let steps: [PlannedStep]
  private let schedule: TileSchedule
  private let distance: Int
  /// Whether tiles that were read leave the page cache: when the machine's memory does not hold input and output, which
  /// are read back for the self-check. What is read in a circle would be gone before its turn comes, and keeping it would
  /// only drive out what other programs use. Models that fit stay for whoever reads them next.
  private let drops: Bool

  init(_ plan: ConversionPlan, _ schedule: TileSchedule, machineMemory: UInt64 = ProcessFacts.machineMemory) {
    steps = plan.steps
    self.schedule = schedule
    // Every thread has a tile in work and one waiting for it.
    distance = 2 * plan.options.threads
    drops = plan.inputByteCount + plan.outputByteCount > machineMemory
  }

  /// A tile is begun: one that comes soon is brought from the disk meanwhile.
  func begin(_ position: Int) {
    guard position + distance < schedule.tileCount else { return }
    advise(.soon, position + distance)
  }

  /// A tile's input was read.
  func finish(_ position: Int) {
    if drops { advise(.done, position) }
  }

  private func advise(_ advice: ReadingAdvice, _ position: Int) {
    let (step, tile) = schedule.tile(at: position)
    steps[step].rows.advise(advice, rows: steps[step].rowRange(ofTile: tile))
  }
}
