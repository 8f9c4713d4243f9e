public import ByteIO
internal import Checkpoints
public import Quantization
internal import Synchronization

/// Carries out a plan into a staging directory. Work is cut into row tiles; those that an earlier run has left are not done
/// again. A run that ends keeps what was done where a later one can go on with it: after a signal, or trouble with the disk.
public struct ConversionRun: Sendable {
  public let plan: ConversionPlan
  public var staging: StagedDirectory { workspace.staging }

  let workspace: Workspace
  private let journal: TileJournal
  private let flush: BackgroundWork

  /// Error statistics per planned step; nil for exact copies and plain conversions.
  public let statistics: [QuantizationStatistics?]

  /// For each planned step that makes blocks the CRC-32 of each tile as the quantizer gave it, before it was written; for
  /// one that makes groups of integers that of each row.
  let checksums: [[UInt32]]

  /// Of the input's tokenizer, as ``Checkpoint/tokenizerDigest()`` gives it; nil where keys will be compared.
  let tokenizerDigest: String?

  /// Sums of input files that there was time for beside the tiles; of all where the output says what it was made from.
  let inputSums: [FileSum: String]
  /// Of all input files, for an output that says it; else nil.
  let inputDigest: String?

  /// Told how many bytes of input are done.
  public typealias Progress = @Sendable (_ done: UInt64, _ total: UInt64) -> Void

  /// Runs the plan, or what an earlier run has left of it. On an error nothing has the final name.
  /// - Throws: `Interrupted` and `FileFailure` that say how to go on, where that is possible; else nothing is left behind.
  public init(
    _ plan: ConversionPlan, journal settings: JournalSettings = JournalSettings(),
    interruption: Interruption = Interruption(), progress: @escaping Progress = { _, _ in }
  ) throws {
    let workspace = try Workspace(plan, settings)
    try self.init(
      plan, workspace, writesFixedBytes: true, interval: settings.interval, interruption: interruption,
      progress: progress)
  }

  /// Takes over the work of all parts and completes the files.
  /// - Throws: `ConversionFailure` of kind `.unfinished` when parts are missing: nothing has happened then.
  public init(
    finishing plan: ConversionPlan, parts: Int, journal settings: JournalSettings,
    interruption: Interruption = Interruption(), progress: @escaping Progress = { _, _ in }
  ) throws {
    let workspace = try Workspace(finishing: plan, settings, parts: parts)
    try self.init(
      plan, workspace, writesFixedBytes: false, interval: settings.interval, interruption: interruption,
      progress: progress)
  }

  private init(
    _ plan: ConversionPlan, _ workspace: Workspace, writesFixedBytes: Bool, interval: Double,
    interruption: Interruption, progress: @escaping Progress
  ) throws {
    var begun: TileJournal?
    let done = Set(workspace.records.flatMap(\.tiles).map(\.position))
    do {
      if writesFixedBytes { try plan.writeDocuments(to: workspace.staging) }
      let writer = try plan.output.writer(in: workspace.staging.path, writesFixedBytes: writesFixedBytes)
      try writer.restore(workspace.records.flatMap(\.notes))
      let journal = TileJournal(workspace.log, writer, interval: interval, records: workspace.records)
      begun = journal
      let schedule = TileSchedule(plan.steps)
      let sides = SideResults()
      try TileRun(plan: plan, schedule: schedule, writer: writer, journal: journal, interruption: interruption)
        .run(
          (0..<schedule.tileCount).filter { !done.contains($0) },
          beside: [sides.inputSums(plan, interruption), sides.tokenizerDigest(plan)], progress: progress)
      (statistics, checksums) = Self.collected(plan, schedule, journal.results)
      tokenizerDigest = sides.digest
      (inputSums, inputDigest) = try EvidenceSums.inputDigest(plan, known: sides.sums)
      // What no tile read is read now: nothing is published from an input that fails its own checksums.
      try plan.input.proveIntegrity()
      try writer.complete(inputDigest: inputDigest)
      // The disk takes its time; what is read back meanwhile does not come from it anyway.
      flush = BackgroundWork { try journal.save() }
      self.journal = journal
    } catch {
      if let begun { try? begun.save() }
      throw workspace.end(after: plan.input.cause(of: error), savedTiles: begun?.savedCount ?? done.count)
    }
    self.plan = plan
    self.workspace = workspace
  }

  /// Waits until the output is on the disk.
  /// - Throws: `FileFailure` when the disk could not take it.
  public func waitForDisk() throws { try flush.wait() }

  /// Removes all that was made.
  public func discard() throws {
    try? flush.wait()
    try workspace.discard()
  }

  /// Ends the work because of an error behind the run.
  /// - Returns: the error, with what becomes of the work: all tiles stay for a later run when that can go on.
  public func end(after error: any Error) -> any Error {
    try? flush.wait()
    return workspace.end(after: plan.input.cause(of: error), savedTiles: journal.savedCount)
  }

  /// Ends the work because the gate behind it came to no verdict, for a reason that has nothing to do with what was made: a
  /// text that is missing or too short, too little memory.
  /// - Returns: the error, and what to say of the work if it stays for a later run.
  public func pause(after error: any Error) -> (error: any Error, advice: String?) {
    try? flush.wait()
    guard journal.savedCount > 0 else { return (workspace.end(after: error, savedTiles: 0), nil) }
    return (workspace.advised(error) ?? error, error is Interrupted ? nil : workspace.advice)
  }

  /// Added up in row order, whatever order the threads worked in.
  private static func collected(
    _ plan: ConversionPlan, _ schedule: TileSchedule, _ tiles: [Int: TileWorker.Result]
  ) -> (statistics: [QuantizationStatistics?], checksums: [[UInt32]]) {
    let results = plan.steps.indices.map { schedule.positions(ofStep: $0).compactMap { tiles[$0] } }
    let statistics = zip(plan.steps, results).map { step, tiles in
      step.measured
        ?? tiles.first.map { first in tiles.dropFirst().reduce(first.statistics) { $0.merged(with: $1.statistics) } }
    }
    return (statistics, results.map { $0.flatMap(\.checksums) })
  }
}

/// What is found out about the input beside the tiles.
private final class SideResults: Sendable {
  private let found = Mutex<(sums: [FileSum: String], digest: String?)>(([:], nil))

  var sums: [FileSum: String] { found.withLock { $0.sums } }
  var digest: String? { found.withLock { $0.digest } }

  func inputSums(_ plan: ConversionPlan, _ interruption: Interruption) -> TileRun.SideWork {
    { isBusy, hasFailed in
      let sums = try FileSum.compute(EvidenceSums.besideTheRun(plan), while: isBusy, unless: hasFailed) {
        try interruption.check()
      }
      self.found.withLock { $0.sums = sums }
    }
  }

  /// One thread's work. From GGUF to GGUF the keys are carried, and compared themselves.
  func tokenizerDigest(_ plan: ConversionPlan) -> TileRun.SideWork {
    { _, _ in
      guard plan.layout != .gguf || plan.input.layout != .gguf else { return }
      let digest = try plan.input.tokenizerDigest()
      self.found.withLock { $0.digest = digest }
    }
  }
}
