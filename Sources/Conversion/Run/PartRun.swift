public import ByteIO
public import Checkpoints

/// One part of a conversion that several processes share, at the same time or not, on one machine or several with a shared
/// file system: its tiles, written to their planned places. No two parts write the same byte, and a part that is run again
/// does what it has not done yet. ``ConversionRun/init(finishing:parts:journal:interruption:progress:)`` follows.
public struct PartRun: Sendable {
  public let part: WorkPart
  /// Tiles of this part, and those among them that were done before.
  public let tileCount: Int
  public let resumedCount: Int
  private let plan: ConversionPlan

  /// - Throws: `ConversionFailure` of kind `.usage` where work cannot be shared and of kind `.otherWork` when other work is in
  ///   the way, `FileFailure` of kind `.exists` when the same part is being done, and what tiles throw. What is done stays.
  public init(
    _ plan: ConversionPlan, part: WorkPart, journal settings: JournalSettings = JournalSettings(),
    interruption: Interruption = Interruption(), progress: @escaping ConversionRun.Progress = { _, _ in }
  ) throws {
    try plan.checkIsDivisible()
    let workspace = try Workspace(plan, settings, part: part)
    let schedule = TileSchedule(plan.steps)
    let share = schedule.positions(ofPart: part, plan.steps)
    let done = Set(workspace.records.flatMap(\.tiles).map(\.position))
    self.plan = plan
    self.part = part
    tileCount = share.count
    resumedCount = done.count
    guard !workspace.records.contains(where: \.isLast) else { return }
    do {
      // The first part writes what is the same for all.
      if part.index == 0 { try plan.writeDocuments(to: workspace.staging) }
      let writer = try plan.output.writer(in: workspace.staging.path, writesFixedBytes: part.index == 0)
      let journal = TileJournal(workspace.log, writer, interval: settings.interval, records: workspace.records)
      do {
        try TileRun(plan: plan, schedule: schedule, writer: writer, journal: journal, interruption: interruption)
          .run(share.filter { !done.contains($0) }, beside: [], progress: progress)
      } catch {
        try? journal.save()
        throw error
      }
      try FileSystem.synchronizeDirectory(workspace.staging.path)
      try journal.close()
    } catch {
      throw workspace.advised(error) ?? error
    }
  }

  /// What the program prints.
  public var summary: String {
    let again = resumedCount > 0 ? ", \(resumedCount) of them before" : ""
    return """
      part        \(part) of \(plan.outputPath): \(tileCount) tiles done\(again)
      next        llama-convert finish \(plan.outputPath), when all \(part.count) parts are done

      """
  }

  public var document: JSONValue {
    [
      "schema": "llama-convert-part/1", "part": .number(JSONNumber(part.index)),
      "parts": .number(JSONNumber(part.count)), "tiles": .number(JSONNumber(tileCount)),
      "tiles_done_before": .number(JSONNumber(resumedCount)), "plan_sha256": .string(plan.digest),
    ]
  }
}

extension ConversionPlan {
  /// - Throws: `ConversionFailure` of kind `.usage` when the work cannot be shared among processes.
  public func checkIsDivisible() throws(ConversionFailure) {
    guard output.canBeContinued else {
      throw ConversionFailure(
        .usage,
        "--part: where a compressed tensor lies depends on the size of those before it; leave out --compress, or convert in one process"
      )
    }
    guard calibration == nil else {
      throw ConversionFailure(
        .usage, "--part: calibration goes through the layers one after the other; convert in one process")
    }
  }
}
