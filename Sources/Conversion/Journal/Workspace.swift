internal import ByteIO
internal import Checkpoints

/// Where an output is made: the staging directory and the journal beside it, locked against others. Opening it decides
/// whether earlier work goes on.
final class Workspace: Sendable {
  let staging: StagedDirectory
  let journal: JournalDirectory
  let begun: BegunWork
  /// What earlier runs have left; nothing for work that begins.
  let records: [TileRecord]
  /// Nil for an output that is made in one go.
  let log: RecordLog?
  private let lock: OutputLock

  /// For a conversion by one process.
  /// - Throws: `FileFailure`, of kind `.exists` when another process is at the output, when parts of it are being made, or
  ///   when what is there is not this program's; `ConversionFailure` of kind `.otherWork` as the settings say.
  convenience init(_ plan: ConversionPlan, _ settings: JournalSettings) throws {
    let journal = JournalDirectory(of: plan.outputPath)
    let lock = try Self.lock(journal, plan.outputPath, part: nil, settings)
    let work = BegunWork(try ConversionIdentity(plan, parts: nil), settings)
    let staging = try StagedDirectory(sharedFor: plan.outputPath)
    let earlier = journal.begun
    if let count = earlier?.identity.parts { throw Self.isInParts(plan.outputPath, count) }
    if let earlier, settings.resumption != .never {
      let isSame = earlier.identity == work.identity && plan.output.canBeContinued
      if isSame, Self.isWhole(staging, plan),
        let (log, records) = try? Self.readLog(journal.tilesPath(nil), plan), !records.isEmpty
      {
        try Self.removeStrays(staging, plan, keepingDocuments: false)
        _ = try journal.write(work, exclusively: false)
        settings.remark("going on with unfinished work: \(Self.share(records, plan)) is done")
        self.init(staging, journal, work, records, log, lock)
        return
      }
      guard settings.resumption != .required || isSame else { throw Self.isOther(plan.outputPath) }
      if !isSame { settings.remark("removing the unfinished work of another conversion: \(staging.path)") }
    }
    if earlier == nil { try Self.checkIsOurs(staging, journal, part: nil) }
    // Staged files never outlive the plan that says whose they are.
    try staging.clear()
    try journal.clear()
    _ = try journal.write(work, exclusively: false)
    try staging.create()
    let log = plan.output.canBeContinued ? try RecordLog.open(journal.tilesPath(nil)).log : nil
    self.init(staging, journal, work, [], log, lock)
  }

  /// For one part. Others may be at work.
  convenience init(_ plan: ConversionPlan, _ settings: JournalSettings, part: WorkPart) throws {
    let journal = JournalDirectory(of: plan.outputPath)
    let lock = try Self.lock(journal, plan.outputPath, part: part, settings)
    let work = BegunWork(try ConversionIdentity(plan, parts: part.count), settings)
    let staging = try StagedDirectory(sharedFor: plan.outputPath)
    if journal.begun == nil {
      do {
        try Self.checkIsOurs(staging, journal, part: part)
      } catch {
        // Another part was faster.
        guard journal.begun != nil else { throw error }
      }
      _ = try journal.write(work, exclusively: true)
    }
    guard let earlier = journal.begun else {
      throw FileFailure(
        path: journal.path, operation: "read the plan", kind: .exists, detail: "it is of another version; remove it")
    }
    guard earlier.identity == work.identity else { throw Self.isOther(plan.outputPath) }
    try staging.create()
    let path = journal.tilesPath(part)
    if !Self.isWhole(staging, plan) { try FileSystem.remove(path) }
    let (log, records) = try Self.readLog(path, plan)
    self.init(staging, journal, work, records, log, lock)
  }

  /// For who finishes the work of all parts.
  /// - Throws: `ConversionFailure` of kind `.unfinished` that names what is missing.
  convenience init(finishing plan: ConversionPlan, _ settings: JournalSettings, parts: Int) throws {
    let journal = JournalDirectory(of: plan.outputPath)
    let lock = try Self.lock(journal, plan.outputPath, part: nil, settings)
    let work = BegunWork(try ConversionIdentity(plan, parts: parts), settings)
    guard let earlier = journal.begun, earlier.identity == work.identity else { throw Self.isOther(plan.outputPath) }
    let staging = try StagedDirectory(sharedFor: plan.outputPath)
    let records = try PartRecords(journal, plan, parts: parts).all
    guard Self.isWhole(staging, plan) else {
      throw ConversionFailure(.unfinished, "\(staging.path): staged files are missing; run all parts again")
    }
    try Self.removeStrays(staging, plan, keepingDocuments: true)
    self.init(staging, journal, earlier, records, nil, lock)
  }

  private init(
    _ staging: StagedDirectory, _ journal: JournalDirectory, _ begun: BegunWork, _ records: [TileRecord],
    _ log: RecordLog?, _ lock: OutputLock
  ) {
    self.staging = staging
    self.journal = journal
    self.begun = begun
    self.records = records
    self.log = log
    self.lock = lock
  }

  /// Removes all that was made.
  func discard() throws(FileFailure) {
    try lock.check()
    try staging.clear()
    try staging.discard()
    try journal.remove()
  }

  /// Gives the output its name, and removes the journal.
  /// - Throws: `FileFailure`, also when the lock has passed to another process meanwhile.
  func publish(files: [(staged: String, name: String)], outdated: [String], replacing: Bool, summary: String) throws {
    try lock.check()
    let publication = try Publication(
      of: staging, begun, files: files, outdated: outdated, replaces: replacing, summary: summary)
    try journal.write(publication)
    guard try publication.carryOut(staging) else {
      throw FileFailure(path: staging.path, operation: "publish", kind: .inputOutput, detail: "it is gone")
    }
    try journal.remove()
  }

  /// Why work stopped, with what becomes of it: finished tiles stay for a later run when that can go on.
  func end(after error: any Error, savedTiles: Int) -> any Error {
    guard savedTiles > 0, let advised = advised(error) else {
      try? discard()
      return error
    }
    return advised
  }

  /// What to say of work that stays whatever ended it.
  var advice: String {
    "what is done is kept, the same command goes on with it (or remove \(staging.path) and \(journal.path))"
  }

  /// The error with what to do next; nil for one that a later run would meet again.
  func advised(_ error: any Error) -> (any Error)? {
    if error is Interrupted { return Interrupted(advice: advice) }
    guard let failure = error as? FileFailure, failure.kind == .noSpace || failure.kind == .inputOutput else {
      return nil
    }
    return FileFailure(
      path: failure.path, operation: failure.operation, kind: failure.kind, code: failure.code,
      detail: failure.detail + "; " + advice)
  }
}

extension Workspace {
  /// Goes on with a publication that was cut off.
  /// - Returns: what was published, as text; nil when there was nothing to go on with.
  static func completePublication(of plan: ConversionPlan, _ settings: JournalSettings) throws -> String? {
    let journal = JournalDirectory(of: plan.outputPath)
    // Without one nothing is locked: other parts may just be beginning.
    guard journal.exists, journal.publication != nil else { return nil }
    let lock = try lock(journal, plan.outputPath, part: nil, settings)
    guard let publication = journal.publication else { return nil }
    let parts = publication.begun.identity.parts
    let identity = try ConversionIdentity(plan, parts: parts)
    guard publication.begun.identity.isSameCommand(as: identity),
      parts != nil || publication.begun.arguments == settings.arguments
    else { return nil }
    try lock.check()
    let staging = try StagedDirectory(sharedFor: plan.outputPath)
    guard try publication.carryOut(staging) else { return nil }
    try journal.remove()
    return publication.summary
  }

  fileprivate static func lock(
    _ journal: JournalDirectory, _ output: String, part: WorkPart?, _ settings: JournalSettings
  ) throws(FileFailure) -> OutputLock {
    var attempt = 0
    while true {
      try journal.create()
      do {
        return try OutputLock(path: journal.lockPath(part), output: output) {
          settings.remark("\(output) is locked by \($0); waiting \(OutputLock.patience) s to see whether it lives")
        }
      } catch  where error.kind == .missing && attempt < 3 {
        // Whoever published the output has removed the directory at this moment.
        attempt += 1
      }
    }
  }

  /// - Throws: `FileFailure` of kind `.exists` when what is staged is of unknown origin: no plan says whose it is.
  fileprivate static func checkIsOurs(
    _ staging: StagedDirectory, _ journal: JournalDirectory, part: WorkPart?
  ) throws(FileFailure) {
    do {
      try staging.checkIsEmpty()
    } catch {
      if journal.begun == nil { journal.removeIfUnused(part) }
      throw error
    }
  }

  /// Removes what is left of a journal that its owner was just removing, behind a publication.
  static func tidy(_ output: String) throws {
    let journal = JournalDirectory(of: output)
    guard journal.exists, journal.begun == nil else { return }
    let lock = try lock(journal, output, part: nil, JournalSettings())
    try lock.check()
    guard let publication = journal.publication else { return journal.removeIfUnused(nil) }
    if try publication.carryOut(try StagedDirectory(sharedFor: output)) { try journal.remove() }
  }

  /// Whether the files are there that tiles were written to.
  fileprivate static func isWhole(_ staging: StagedDirectory, _ plan: ConversionPlan) -> Bool {
    plan.output.files.allSatisfy { (try? FileFacts(path: staging.file($0.name)).byteCount) == $0.byteCount }
  }

  fileprivate static func readLog(
    _ path: String, _ plan: ConversionPlan
  ) throws -> (log: RecordLog, records: [TileRecord]) {
    let (log, records) = try RecordLog.open(path)
    let tileCount = TileSchedule(plan.steps).tileCount
    return (log, try records.map { try TileRecord(parsing: $0, tileCount: tileCount) })
  }

  /// Removes what is written anew: evidence, and documents where this process writes them.
  fileprivate static func removeStrays(
    _ staging: StagedDirectory, _ plan: ConversionPlan, keepingDocuments: Bool
  ) throws(FileFailure) {
    var kept = Set(plan.output.files.map(\.name))
    if keepingDocuments { kept.formUnion(plan.documents.map(\.name) + plan.sidecars.map(\.name)) }
    for name in try FileSystem.names(in: staging.path) where !kept.contains(name) {
      try FileSystem.remove(staging.file(name))
    }
  }

  private static func share(_ records: [TileRecord], _ plan: ConversionPlan) -> String {
    let done = Set(records.flatMap(\.tiles).map(\.position)).count
    return "\(done * 100 / max(1, TileSchedule(plan.steps).tileCount)) %"
  }

  fileprivate static func isOther(_ output: String) -> ConversionFailure {
    ConversionFailure(
      .otherWork,
      "\(output): unfinished work of another conversion (other options, inputs, parts or version) is there; finish it, or remove \(StagedDirectory.stagingPath(for: output)) and \(JournalDirectory.path(for: output))"
    )
  }

  private static func isInParts(_ output: String, _ count: Int) -> ConversionFailure {
    ConversionFailure(
      .otherWork,
      "\(output): it is being made in \(count) parts; run them and llama-convert finish, or remove \(StagedDirectory.stagingPath(for: output)) and \(JournalDirectory.path(for: output))"
    )
  }
}
