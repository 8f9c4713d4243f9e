internal import ByteIO
internal import Checkpoints

/// What all parts of a conversion have left, and whether that is everything.
struct PartRecords: Sendable {
  let all: [TileRecord]

  /// - Throws: `ConversionFailure` of kind `.unfinished` that names the parts that are missing, `ParseFailure` for records of
  ///   another plan, `FileFailure`.
  init(_ journal: JournalDirectory, _ plan: ConversionPlan, parts: Int) throws {
    let schedule = TileSchedule(plan.steps)
    var all: [TileRecord] = []
    var missing: [String] = []
    for part in (0..<parts).compactMap({ WorkPart($0, of: parts) }) {
      let path = journal.tilesPath(part)
      guard FileSystem.nameIsTaken(path) else {
        missing.append("\(part.index)")
        continue
      }
      let records = try RecordLog.records(of: path).map { bytes throws(ParseFailure) in
        do throws(ParseFailure) {
          return try TileRecord(parsing: bytes, tileCount: schedule.tileCount)
        } catch {
          throw error.in(file: path)
        }
      }
      let share = schedule.positions(ofPart: part, plan.steps)
      let done = Set(records.flatMap(\.tiles).map(\.position))
      if !records.contains(where: \.isLast) || done != Set(share) {
        missing.append("\(part.index) (begun: \(done.count) of \(share.count) tiles)")
      }
      all += records
    }
    guard missing.isEmpty else {
      throw ConversionFailure(
        .unfinished,
        "\(plan.outputPath): of \(parts) parts these are not done: \(missing.joined(separator: ", ")); run them, then finish again"
      )
    }
    self.all = all
  }
}
