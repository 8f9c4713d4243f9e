internal import Dispatch
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif
internal import Synchronization

/// One process at a time writes an output, also when the processes are on several machines that share its file system.
///
/// On one machine the system's own lock (`flock`) decides, and it dies with its process. Not every shared file system passes
/// that on to other machines, so the file also says who holds it, and its holder changes it every few seconds. Who finds
/// another machine's name in it watches the file: when it stays as it is, the holder is gone.
public final class OutputLock: Sendable {
  public let path: String
  private let descriptor: Int32
  /// Sound: dispatch sources may be used from any thread.
  private nonisolated(unsafe) let heartbeat: any DispatchSourceTimer
  private let beats = Atomic<UInt64>(0)
  private let owner: String

  /// Seconds from one sign of life to the next.
  private static let interval = 4
  /// Seconds for which a silent holder on another machine is waited for: several signs of life.
  public static let patience = 15

  /// - Parameters:
  ///   - path: of the lock's file, in an existing directory.
  ///   - output: what is locked, for the message.
  ///   - patience: seconds for which a silent holder on another machine is watched.
  ///   - onWait: told once when another machine's holder is watched.
  /// - Throws: `FileFailure` of kind `.exists` when another process is at the output.
  public init(
    path: String, output: String, patience: Int = OutputLock.patience, onWait: (_ holder: String) -> Void = { _ in }
  ) throws(FileFailure) {
    self.path = path
    owner = "process \(getpid()) on \(Self.machine)"
    descriptor = try Self.opened(path, output)
    do throws(FileFailure) {
      let found = try Self.content(path)
      if let holder = Self.holder(found), !Self.isHere(holder) || !Self.hasSystemLock(descriptor) {
        onWait(holder)
        for _ in 0..<patience * 4 {
          usleep(250_000)
          let now = try Self.content(path)
          if Self.holder(now) == nil { break }
          if now != found { throw Self.taken(output, by: holder) }
        }
      }
    } catch {
      close(descriptor)
      throw error
    }
    ftruncate(descriptor, 0)
    let timer = DispatchSource.makeTimerSource(queue: .global())
    heartbeat = timer
    beat()
    // A process that waits for its disk for long still lives.
    timer.schedule(deadline: .now() + .seconds(Self.interval), repeating: .seconds(Self.interval))
    timer.setEventHandler { [weak self] in self?.beat() }
    timer.resume()
  }

  /// Containers that share a kernel share its locks, whatever their host names: where the system has it, the kernel's
  /// boot tells machines apart.
  private static let machine: String = {
    var name = [CChar](repeating: 0, count: 256)
    if gethostname(&name, name.count - 1) != 0 { name[0] = 0 }
    var boot = [CChar](repeating: 0, count: 64)
    if let file = fopen("/proc/sys/kernel/random/boot_id", "r") {
      if fgets(&boot, Int32(boot.count), file) == nil { boot[0] = 0 }
      fclose(file)
    }
    let texts = [name, boot].map { buffer in
      String(decoding: buffer.prefix { $0 > 32 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    return texts[1].isEmpty ? texts[0] : "\(texts[0]), boot \(texts[1])"
  }()

  private static func isHere(_ holder: String) -> Bool {
    func key(_ text: String) -> Substring { text.split(separator: " ").last ?? "" }
    return key(holder) == key(machine)
  }

  private static func opened(_ path: String, _ output: String) throws(FileFailure) -> Int32 {
    while true {
      let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
      guard descriptor >= 0 else { throw FileFailure(path: path, operation: "lock", errno: errno) }
      if flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK {
        let holder = holder((try? content(path)) ?? "")
        close(descriptor)
        throw taken(output, by: holder ?? "another process")
      }
      // The one before may have removed the file between our opening and locking it.
      var (mine, there) = (stat(), stat())
      if fstat(descriptor, &mine) == 0, stat(path, &there) == 0, mine.st_ino == there.st_ino,
        mine.st_dev == there.st_dev
      {
        return descriptor
      }
      close(descriptor)
    }
  }

  /// Where the file system knows no locks, only the signs of life count.
  private static func hasSystemLock(_ descriptor: Int32) -> Bool { flock(descriptor, LOCK_EX | LOCK_NB) == 0 }

  private static func content(_ path: String) throws(FileFailure) -> String {
    String(decoding: try ReadableFile(path: path).bytes(at: 0, upTo: 512), as: UTF8.self)
  }

  /// Who is named in the file; nil when nobody is.
  private static func holder(_ content: String) -> String? {
    content.split(separator: "\n").first.map { String($0) }
  }

  private static func taken(_ output: String, by holder: String) -> FileFailure {
    FileFailure(
      path: output, operation: "write", kind: .exists,
      detail: "another process is writing this output (\(holder)); wait for it or stop it")
  }

  private func beat() {
    let count = beats.add(1, ordering: .relaxed).newValue
    let line = Array("\(owner)\n\(count)\n".utf8)
    _ = line.withUnsafeBufferPointer { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    fsync(descriptor)
  }

  /// - Throws: `FileFailure` when the lock is another's now: this process was stopped for so long that it seemed dead.
  public func check() throws(FileFailure) {
    let holder = Self.holder(try Self.content(path))
    guard holder == owner else { throw Self.taken(path, by: holder ?? "unknown") }
  }

  deinit {
    heartbeat.cancel()
    // Who comes next need not wait.
    if Self.holder((try? Self.content(path)) ?? "") == owner { ftruncate(descriptor, 0) }
    close(descriptor)
  }
}
